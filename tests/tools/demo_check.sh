#!/bin/sh
# The whole recipe at its smallest (configs/demo/recipe.sh, size check), three times: undisturbed, with one thread, and killed with
# SIGKILL in every stage. All three must end with the same model and the same answers.
#
#   sh tests/tools/demo_check.sh BUILD [DEVICE]        exit 0 all alike, 1 not; DEVICE as in recipe.sh
#
# Last line: "N passed, N failed".
set -eu
build=${1:-build} device=${2:-}
out=$build/demo-check${device:+-$device}
log=$out.log
passed=0 failed=0

result() { sha256sum "$out/instruct/model/model.safetensors" "$out/predictions.jsonl" | cut -d' ' -f1 | tr '\n' ' '; }
report() {  # report TRUE WHAT
  if [ "$1" = 1 ]; then passed=$((passed + 1)) word=same; else failed=$((failed + 1)) word=FAILED; fi
  printf '  %-8s %s\n' "$word" "$2"
}
compare() {
  if [ "$2" = "$expected" ]; then report 1 "$1"; else report 0 "$1: $2, expected $expected"; fi
}

rm -rf "$out"
sh configs/demo/recipe.sh "$build" check ${device:+device=$device} >"$log" 2>&1 || { tail -n 5 "$log"; echo "0 passed, 1 failed"; exit 1; }
expected=$(result)
echo "  the recipe: model, answers $expected"

rm -rf "$out"
taskset -c 0 sh configs/demo/recipe.sh "$build" check ${device:+device=$device} >"$log" 2>&1 || true
compare "on one core" "$(result)"

# Starts the recipe and kills it as soon as `$@` is true; false when it had come to its end before.
kill_when() {
  : >"$log"
  setsid sh configs/demo/recipe.sh "$build" check ${device:+device=$device} >"$log" 2>&1 &
  recipe=$!
  until "$@"; do kill -0 $recipe 2>/dev/null || return 1; done  # some stages take 20 ms: no sleep
  kill -9 -$recipe 2>/dev/null || true
  wait $recipe 2>/dev/null || true
}
in_stage() { [ "$(grep -c '^\$ ' "$log")" -ge "$1" ]; }  # the $1st command has been printed
has_checkpoint() {  # further steps follow: time to sleep, and leave the core to them
  for f in "$out/$1"/checkpoints/step-*; do [ -e "$f" ] && return; done
  sleep 0.005
  return 1
}

rm -rf "$out"
stages=$(sed -n 's/^stage \([a-z0-9-]*\) .*/\1/p' configs/demo/recipe.sh)
number=0 missed=
# A kill that falls into stage $name, when `$@` is true. One that came too late, behind a stage of 20 ms on a busy machine, is tried again, as
# if it had come between the stage's end and its mark.
kill_in_stage() {
  for try in 1 2 3 4 5 6 7 8 9 10; do
    if kill_when "$@" && [ ! -e "$out/$name.done" ]; then return 0; fi
    rm -f "$out/$name.done"
  done
  return 1
}
for name in $stages; do
  number=$((number + 1))
  kill_in_stage in_stage $number || missed="$missed $name"
  case $name in tower | language | align | midtrain | instruct)
    { kill_when has_checkpoint $name && [ ! -e "$out/$name.done" ]; } || missed="$missed $name-at-its-checkpoint" ;;
  esac
done
if [ -z "$missed" ]; then report 1 "killed in every stage, in training also at a checkpoint: $(echo $stages)"
else report 0 "no kill fell into$missed"; fi
sh configs/demo/recipe.sh "$build" check ${device:+device=$device} >"$log" 2>&1 || true
compare "after that" "$(result)"

sh configs/demo/recipe.sh "$build" check ${device:+device=$device} >"$log" 2>&1
if [ "$(grep -c 'done before' "$log")" = "$(echo "$stages" | wc -l)" ]; then report 1 "run again: every stage was done before"
else report 0 "run again: a finished stage ran again"; fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
