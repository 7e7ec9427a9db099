#!/bin/sh
# What only a GPU can show, in one command; without one it says so and exits 3.
#
#   sh tests/tools/gpu_check.sh BUILD       BUILD holds onevision and gpu-check, built with CUDA=1
#   sh tests/tools/gpu_check.sh --present   only whether there is a GPU
#
# The report is BUILD/gpu-check-report/report.txt, and holds all that there is: the machine, every op against f64, the bits of repeated
# training, golden cases, a table of kernels, a step of the 8B and its rate of decoding (numbers: gpu-check.json beside it), the small
# recipe, every call between ranks where there are several GPUs, the demonstration, whole, with its accuracies. Last line: "N passed,
# N failed".
set -eu
nvidia-smi -L >/dev/null 2>&1 || {
  echo "gpu-check: no GPU here (nvidia-smi -L finds none): nothing was checked. 'make test' runs every kernel without one." >&2
  exit 3
}
[ "$1" != --present ] || exit 0
build=$1
out=$build/gpu-check-report
rm -rf "$out" && mkdir -p "$out"
report=$out/report.txt
passed=0 failed=0 start=$(date +%s)

part() {  # part WHAT COMMAND...
  what=$1 && shift
  echo "== $what" | tee -a "$report"
  if "$@" >"$out/log" 2>&1; then passed=$((passed + 1)) word=passed; else failed=$((failed + 1)) word="FAILED, exit $?"; fi
  cat "$out/log" >>"$report"
  printf '  %s: %s\n' "$what" "$word" | tee -a "$report"
}

# The recipe at its smallest, twice on the GPU: the same model and answers.
recipe() { mkdir -p "$out/$1" && ln -s "$PWD/$build/onevision" "$out/$1/" && sh configs/demo/recipe.sh "$out/$1" check device=cuda; }
model() { sha256sum "$out/$1/demo-check-cuda/instruct/model/model.safetensors" | cut -d' ' -f1; }
repeated() { recipe first && recipe second && [ "$(model first)" = "$(model second)" ]; }

# The whole demonstration, in what is left of ten minutes: its accuracy is that of any type and seed.
demonstration() {
  left=$((595 - $(date +%s) + start))
  [ "$left" -gt 0 ] || { echo "not begun: the parts before it took the ten minutes"; return 1; }
  mkdir -p "$out/whole" && ln -s "$PWD/$build/onevision" "$out/whole/"
  timeout "$left" sh configs/demo/recipe.sh "$out/whole" device=cuda ||
    { echo "cut after ten minutes in all, or failed: see the last stage above"; return 1; }
  sh tests/tools/demo_result.sh --any-model "$build" "$out/whole/demo-cuda/eval.json"
}

nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv | tee "$report"
part "ops, golden cases, repeated training, kernels" "$build/gpu-check" "$out/gpu-check.json"
part "the small recipe, twice the same bits" repeated
part "ranks over NCCL, where there are two GPUs" "$build/gpu-check" --ranks
part "the demonstration, whole" demonstration
sed -n '/^kernel/,/^gpu-check/p; /^ranks: /p' "$report"  # the table, the step, decoding
echo "the report: $report"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
