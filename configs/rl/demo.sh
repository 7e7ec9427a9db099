#!/bin/sh
# RL on the toy world, once, small, behind `make demo`: selection, training with thinking, held-out questions before and after. Every
# stage is a plain onevision command with a file in configs/rl/, printed before it runs; what is done is not run again (stage.sh).
#
#   demo.sh [BUILD]
set -eu
build=${1:-build}
onevision=$build/onevision
demo=$build/demo
out=$build/rl-demo
config=configs/rl
[ -f "$demo/instruct/model/DONE" ] || { echo "demo.sh: $demo/instruct/model is not there: run make demo first" >&2; exit 2; }
. configs/demo/stage.sh
mkdir -p "$out"
model=$demo/instruct/model
questions="$demo/world/instruct/conversations.json"
programs="think_first think_middle think_last" # of three lines, every line asked

# shellcheck disable=SC2086  # programs is a list
stage selection "$model/model.safetensors $config/prompts.json $config/select.json" \
  "$onevision" rl-select --config $config/prompts.json --config $config/select.json --model "$model" --data "$questions" --templates $programs --out "$out/selection"
# shellcheck disable=SC2086
stage thinking "$out/selection.done $config/thinking.json" \
  "$onevision" rl --config $config/prompts.json --config $config/thinking.json --model "$model" --data "$questions" --templates $programs --keep "$out/selection/kept.jsonl" --out "$out/thinking"
for part in before after; do
  asked=$model
  [ $part = before ] || asked=$out/thinking/model
  stage reasoning-$part "$asked/model.safetensors configs/demo/reasoning.json" \
    "$onevision" eval --model "$asked" --data "$demo/world/reasoning" --tasks configs/demo/reasoning.json --out "$out/reasoning-$part"
  stage eval-$part "$asked/model.safetensors configs/demo/eval.json" \
    "$onevision" eval --model "$asked" --data "$demo/world/test" --tasks configs/demo/eval.json --out "$out/eval-$part"
done
for part in before after; do
  printf '\n%s:\n' $part
  "$onevision" inspect eval "$out/reasoning-$part/eval.json" || true
  "$onevision" inspect eval "$out/eval-$part/eval.json" || true
done
