#!/bin/sh
# The whole recipe at its smallest (configs/demo/recipe.sh, size check), three times: undisturbed, with one thread, and killed with
# SIGKILL again and again wherever it is. All three must end with the same model and the same scores.
#
#   sh tests/tools/recipe_check.sh BUILD        exit 0 all alike, 1 not
#
# Last line: "N passed, N failed".
set -eu
build=${1:-build}
out=$build/recipe-check
log=$build/recipe-check.log
passed=0 failed=0

result() { sha256sum "$out/instruct/model/model.safetensors" "$out/eval/predictions.jsonl" | cut -d' ' -f1 | tr '\n' ' '; }
compare() {
  if [ "$2" = "$expected" ]; then
    passed=$((passed + 1))
    echo "  same     $1"
  else
    failed=$((failed + 1))
    echo "  FAILED   $1: $2, expected $expected"
  fi
}

rm -rf "$out"
sh configs/demo/recipe.sh "$build" check >"$log" 2>&1 || { tail -n 5 "$log"; echo "0 passed, 1 failed"; exit 1; }
expected=$(result)
echo "  the recipe: model, predictions $expected"

rm -rf "$out"
taskset -c 0 sh configs/demo/recipe.sh "$build" check >"$log" 2>&1 || true
compare "on one core" "$(result)"

rm -rf "$out"
kills=0
for tenths in 1 2 3 4 5 6 7 8 9 10 12 14 16 18 20 25 30 40 60 100 200 600; do
  if timeout -s KILL "$((tenths / 10)).$((tenths % 10))" sh configs/demo/recipe.sh "$build" check >"$log" 2>&1; then
    break
  fi
  kills=$((kills + 1))
done
compare "killed $kills times" "$(result)"
[ "$kills" -gt 2 ] || { failed=$((failed + 1)); echo "  FAILED   only $kills kills: nothing was shown"; }

sh configs/demo/recipe.sh "$build" check >"$log" 2>&1
if [ "$(grep -c 'done before' "$log")" = "$(grep -c '^\$ ' "$log")" ]; then
  passed=$((passed + 1))
  echo "  same     run again: every stage was done before"
else
  failed=$((failed + 1))
  echo "  FAILED   run again: a finished stage ran again"
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
