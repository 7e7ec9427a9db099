#!/bin/sh
# One step of alignment (the adapter alone is trained) of a model of the release's size on a row of about 512 tokens, on this machine: a
# directory of random bf16 weights, one picture of 560 x 560 pixels with question and answer, `train` for one step.
#
#   sh tests/tools/real_step.sh [PROGRAM [DIRECTORY]]
#
# The device's memory at its highest equals what `plan` says to the byte, by what it is for; but the loader has the rows of the next steps
# in memory too (data). What the process holds for itself (RssAnon, sampled) is at most 2 % more, and nothing swaps. DIRECTORY, made and removed, needs 10 GB of disk for the 4B. MODEL: another description
# than configs/model/4b.json.
set -eu
cd "$(dirname "$0")/../.."
program=${1:-build/onevision} dir=${2:-build/real-step} model=${MODEL:-configs/model/4b.json} config=configs/recipe/4b-align.json
rm -rf "$dir"
mkdir -p "$dir"
trap 'rm -rf "$dir"' EXIT
failed=0
say() {  # say WHAT TRUE TEXT
  if [ "$2" = 1 ]; then verdict=ok; else verdict=WRONG failed=1; fi
  printf '%-5s %-12s %s\n' "$verdict" "$1" "$3"
}

"$program" merge --config "$model" --tokenizer data/tokenizer --init.matrix uniform_fan_in --export.dtype bf16 --out "$dir/model" >"$dir/out"
"$program" synth --what lessons --out "$dir/world" >"$dir/out"
image=$(cd "$dir/world" && for f in $(find . -name '*.png' | sort); do  # a square one: width and height stand at byte 16
  [ "$(od -An -tx1 -j16 -N4 "$f")" != "$(od -An -tx1 -j20 -N4 "$f")" ] || echo "$f"
done | tail -n 1)
words=$(printf 'a red circle beside a blue square .')
printf '[{"image": "%s", "conversations": [{"from": "human", "value": "<image>\\nWhat is this ?"}, {"from": "gpt", "value": "%s"}]}]\n' \
  "$image" "$words" >"$dir/world/one.json"

"$program" train --config "$config" --model "$dir/model" --data.json "$dir/world/one.json" --data.image_dir "$dir/world" \
  --data.min_pixels 313600 --data.max_pixels 313600 --steps 1 --train.micro_batches 1 --train.save_every 0 --out "$dir/run" >"$dir/out" 2>&1 &
pid=$! anon=0 swap=0
while kill -0 "$pid" 2>/dev/null; do
  now=$(awk '/^RssAnon/ { a = $2 } /^VmSwap/ { s = $2 } END { print a + 0, s + 0 }' "/proc/$pid/status" 2>/dev/null || echo 0 0)
  [ "${now% *}" -le "$anon" ] || anon=${now% *}
  [ "${now#* }" -le "$swap" ] || swap=${now#* }
  [ -s "$dir/run/run.jsonl" ] && grep -q '"type":"memory"' "$dir/run/run.jsonl" && break
  sleep 0.05
done
kill -KILL "$pid" 2>/dev/null || true  # what follows is the checkpoint and the export
wait "$pid" 2>/dev/null || true
grep -q '"type":"memory"' "$dir/run/run.jsonl" || { tail "$dir/out" >&2; echo "real_step: the step did not come to its end" >&2; exit 1; }

field() { grep '"type":"step"' "$dir/run/run.jsonl" | sed -nE "s/.*\"$1\":([0-9.e+-]+).*/\1/p"; }
tokens=$(field tokens) patches=$(field patches) labelled=$(field labelled)
side=$(echo "14 * sqrt($patches)" | bc)
"$program" plan --model "$dir/model" --config "$config" --train.micro_batches 1 --plan.height "$side" --plan.width "$side" \
  --plan.text_tokens $((tokens - patches / 4)) --plan.labelled "$labelled" >"$dir/plan"
echo "a row of $tokens tokens, $patches patches, $labelled labelled: $(field seconds) s, gradient norm $(field gradient_norm)"
for segment in weights gradients optimizer activations workspace data all_at_once; do
  took=$(grep '"type":"memory"' "$dir/run/run.jsonl" | sed -nE "s/.*\"$segment\":([0-9]+).*/\1/p")
  planned=$(sed -n "s/^  $(echo "$segment" | tr _ ' ')  *\([0-9 ]*\)$/\1/p" "$dir/plan" | tail -n 1 | tr -d ' ')
  case $segment in
    data) good=$((took >= planned && took <= 4 * planned)) ;;
    all_at_once) good=$((took * 100 <= planned * 102)) ;;
    *) good=$((took == planned)) ;;
  esac
  say "$segment" "$good" "$took bytes, planned $planned"
done
say resident "$((anon * 1024 <= planned / 100 * 102))" "RssAnon at most $((anon * 1024)) bytes, $(echo "scale=4; $anon * 1024 / $planned" | bc) of it"
say swap "$((swap == 0))" "$swap kB"
exit $failed
