#!/bin/sh
# What does not fit a check of every change: independent parts, each with a log of its own under build/nightly/, one dated line a part in
# build/nightly/log. A part that passed for this revision is not run again, so a night that was cut goes on where it stopped.
#
#   sh tests/tools/nightly.sh              every part that has not passed yet
#   sh tests/tools/nightly.sh PART...      these, again
#   sh tests/tools/nightly.sh --list       the parts and what each shows
#
# Last line: "N passed, N failed, N skipped"; skipped are parts whose peer is not installed here (exit 77).
set -eu
cd "$(dirname "$0")/../.."
out=build/nightly
mkdir -p "$out"
revision=$(git rev-parse --short=12 HEAD)
git diff --quiet HEAD || revision=$revision-changed

parts() {
  cat <<'PARTS'
seed-2     | the recipe with everything drawn from seed 2 is as accurate
seed-3     | and from seed 3
experts    | the recipe with a mixture of experts of equal active FLOPs keeps the README's promise; beside the dense model
rl-counts  | stage 1 of reinforcement learning, counts and boxes: with the release's filter, with ours, with none, and supervised; curves, three seeds
rl-table   | reinforcement learning beside its controls: two starts, three seeds
rl-kills   | two hundred kills of a rank that generates or trains: nothing trained twice, nothing lost, the log replays to the same bits
bf16       | the recipe in bf16 from three seeds: its mean, beside that in f32, is at most a point less
moments    | the recipe with the optimiser's moments in bf16, rounded by chance, keeps the README's promise; beside the default
one-thread | the recipe on one thread ends with the published bits
kills      | a hundred more kills of the small recipe: the same model
verb-kills | concepts, embed, dedup, cluster, balance, curate, index and pack killed at random times, and on a disk that is full: the same bytes
ranks      | two hundred kills of a rank, each run ended by another number of ranks: the same bits; a rank killed at every step of a save
machines   | two hundred kills of a rank or a launcher of two machines, each run ended by another number of ranks: the same bits
meshes     | every mesh of up to eight ranks, dense and with experts: stages one rank's bits, tensors and shared rows within its own rounding
math       | our float functions on all 2^32 inputs
tsan       | every unit test under the thread sanitizer
asan       | and under the address sanitizer, with all that CI leaves out
bits       | builds by two compilers, at two levels, with and without AVX2
fuzz       | a million executions of libFuzzer a target: every reader of files, requests, events, the chat format, stop texts
mutations  | one-line faults planted one by one: each has a test that finds it
devices    | the model and training on the foreign and the simulated device, under every order of their queues; demo-check on the latter: the CPU's bits
cuda       | every kernel compiled for sm_80, sm_90a and sm_100: its instructions, occupancy and floor
tensorboard | the real TensorBoard reads what a run wrote
index      | ten million records: opened with an index in under a second and no memory
rice       | RICE's classes from clusters: regions against whole pictures, with and without strings, three seeds; a table
balance-pays | a pool under Zipf's law: balanced draws against random ones, the same training on both, three seeds; a table and a plot
packing    | 100 million lengths of the release's statistics packed: time, memory, fill
real-size  | an 8B model on a small machine: made, planned, converted, merged, asked
real-step  | one step of alignment of the 4B on a row of 512 tokens: its memory is what plan says
fire       | twenty thousand requests, a third of them malformed, by 64 clients
fire-asan  | the tests of the server under the address sanitizer, with all that CI leaves out
fire-tsan  | and under the thread sanitizer
crowd      | 300 questions one by one, and by 64 clients at once: the same words and log-probabilities, however the server is run
lmms-eval  | the unmodified lmms-eval against serve: the replies and scores of eval
page       | the page at / in a real browser: a picture in, an answer out
curate     | instruction data of 100 000 pictures of the toy world: records a second, memory beside a tenth of them, shards give the same bytes, an endpoint is asked nothing twice
formats    | Parquet files, shards and energon directories between us and pyarrow, webdataset and megatron-energon
peers-check | our directories in Transformers and NeMo AutoModel, theirs here
peers      | our products and steps beside OpenBLAS and PyTorch
PARTS
}

recipe_accuracy() {  # recipe_accuracy SEED: the README's promise for any seed
  sh configs/demo/recipe.sh build seed="$1"
  sh tests/tools/demo_result.sh --any-model build "build/demo-seed$1/eval.json"
}

run_part() {
  case $1 in
    seed-2) make -s build/onevision && recipe_accuracy 2 ;;
    seed-3) make -s build/onevision && recipe_accuracy 3 ;;
    experts) make -s build/onevision && sh configs/demo/recipe.sh build model=demo-moe && sh configs/demo/recipe.sh build &&
      for m in demo-demo-moe demo; do echo "== $m"; build/onevision inspect eval build/$m/eval.json || true; done &&
      sh tests/tools/demo_result.sh --any-model build build/demo-demo-moe/eval.json ;;
    rl-counts) make -s demo && make -s rl-counts ;;
    rl-table) make -s demo && sh configs/demo/recipe.sh build seed=2 && make -s rl-table ;;
    rl-kills) make -s build/unit-tests && build/unit-tests -tc='rl: disaggregated* 200 such kills' --no-skip ;;
    bf16) make -s build/onevision && sh tests/tools/bf16_table.sh build ;;
    moments) make -s build/onevision && sh configs/demo/recipe.sh build moments=bf16_stochastic && sh configs/demo/recipe.sh build &&
      for m in demo-moments-bf16_stochastic demo; do echo "== $m"; build/onevision inspect eval build/$m/eval.json || true; done &&
      sh tests/tools/demo_result.sh --any-model build build/demo-moments-bf16_stochastic/eval.json ;;
    one-thread) make -s build/onevision && rm -rf build/nightly/one && mkdir -p build/nightly/one && cp build/onevision build/nightly/one/ &&
      taskset -c 0 sh configs/demo/recipe.sh build/nightly/one && sh tests/tools/demo_result.sh build build/nightly/one/demo/eval.json ;;
    kills) make -s build/onevision && for i in $(seq 1 10); do sh tests/tools/demo_check.sh build || return 1; done ;;
    verb-kills) make -s build/onevision && sh tests/tools/verb_kills.sh build 20 ;;
    ranks) make -s build/unit-tests build/onevision && build/unit-tests -tc='runs: 200 such kills,parts: such kills at every step' --no-skip ;;
    machines) make -s build/unit-tests build/onevision && build/unit-tests -tc='launch: 200 such kills*' --no-skip ;;
    meshes) make -s build/unit-tests build/onevision && build/unit-tests -tc='*every mesh*' --no-skip ;;
    math) make -s test-math ;;
    tsan) make -s tsan ;;
    asan) make -s asan ;;
    bits) make -s test-bits BUILDS=all ;;
    fuzz) make -s fuzz FUZZ_RUNS=1000000 ;;
    mutations) sh tests/tools/mutate.sh ;;
    devices) make -s build/unit-tests build/gpu-check build/onevision build/simulated/onevision &&
      build/unit-tests -tc='*every policy*' --no-skip && build/gpu-check --simulated build/nightly/simulated-gpu.json && build/gpu-check --simulated --ranks &&
      sh configs/demo/recipe.sh build check && sh tests/tools/demo_check.sh build/simulated cuda &&
      cmp build/demo-check/instruct/model/model.safetensors build/simulated/demo-check-cuda/instruct/model/model.safetensors &&
      sed 's|build/simulated/demo-check-cuda/|build/demo-check/|' build/simulated/demo-check-cuda/predictions.jsonl |
        cmp - build/demo-check/predictions.jsonl ;;
    cuda) command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ] || return 77
      [ -d build/nvdisasm ] || python3 -m pip install -q --target build/nvdisasm nvidia-cuda-nvdisasm || rm -rf build/nvdisasm
      make -s cuda-check ;;
    tensorboard) python3 -m venv "$out/tensorboard" && "$out/tensorboard/bin/pip" install -q tensorboard || return 77
      make -s build/onevision && sh configs/demo/recipe.sh build check &&
        "$out/tensorboard/bin/python" tests/tools/tensorboard_read.py build/demo-check/instruct ;;
    index) make -s build/unit-tests && build/unit-tests -tc='record index: ten million*' --no-skip ;;
    rice) make -s build/onevision build/rice-probe && sh tests/tools/rice_table.sh build ;;
    balance-pays) make -s build/onevision build/balance-table && sh tests/tools/balance_table.sh build &&
      sh tests/tools/balance_table.sh build "1 2 3" full 1000 ;;
    packing) make -s build/onevision && for lengths in released captions; do
        build/onevision pack --lengths "$lengths" --pack.samples 100000000 || return 1; done ;;
    real-size) make -s build/onevision && sh tests/tools/real_size.sh ;;
    real-step) make -s build/onevision && sh tests/tools/real_step.sh ;;
    fire) make -s build/unit-tests && build/unit-tests -tc='fire: twenty thousand*' --no-skip ;;
    fire-asan) make -s asan TEST_ARGS="-sf=*tests/serve/* --no-skip" ;;
    fire-tsan) make -s tsan TEST_ARGS="-sf=*tests/serve/* --no-skip" ;;
    crowd) make -s build/onevision && sh tests/tools/crowd_check.sh build ;;
    lmms-eval) make -s build/onevision && sh tests/tools/lmms_check.sh build ;;
    page) make -s build/onevision && sh tests/tools/page_check.sh build ;;
    curate) make -s build/onevision && sh tests/tools/curate_check.sh build ;;
    formats) make -s build/onevision && sh tests/tools/formats_check.sh build ;;
    peers-check) make -s peers-check ;;
    peers) make -s bench ${TORCH:+TORCH=$TORCH} ;;
    *) echo "nightly.sh: there is no part '$1'; --list shows them" >&2; return 2 ;;
  esac
}

if [ "${1-}" = --list ]; then parts | sed 's/ *| */\t/' | expand -t 14; exit; fi
again=$#
[ $# -gt 0 ] || set -- $(parts | sed 's/ *|.*//')
passed=0 failed=0 skipped=0
for part in "$@"; do
  parts | sed 's/ *|.*//' | grep -qx "$part" || { echo "nightly.sh: there is no part '$part'; --list shows them" >&2; exit 2; }
  if [ "$again" = 0 ] && grep -qs "^[^ ]* $revision $part passed" "$out/log"; then
    echo "$part: passed before"
    passed=$((passed + 1))
    continue
  fi
  start=$(date +%s) rc=0
  echo "== $part"
  (run_part "$part") >"$out/$part.log" 2>&1 </dev/null || rc=$?
  case $rc in
    0) verdict=passed passed=$((passed + 1)) ;;
    77) verdict=skipped skipped=$((skipped + 1)) ;;
    *) verdict="FAILED ($rc)" failed=$((failed + 1)) ;;
  esac
  tail -n 3 "$out/$part.log" | sed 's/^/  /'
  printf '%s %s %s %s %d s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$revision" "$part" "$verdict" "$(($(date +%s) - start))" | tee -a "$out/log"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
