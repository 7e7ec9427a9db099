#!/bin/sh
# RL on the toy world, once, small, behind `make demo`: a warm start; stage 1, counts and boxes by the answer alone; stage 2,
# programs with thinking and without; held-out questions before, between and after. Selection before stage 2 shows which
# templates have latent ability; stage 2 takes all questions: what a filter does, counts.sh shows. Every stage is a plain
# onevision command with a file in configs/rl/, printed before it runs; what is done is not run again (stage.sh).
#
#   demo.sh [BUILD]
set -eu
script=demo.sh
build=${1:-build}
onevision=$build/onevision
demo=$build/demo
out=$build/rl-demo
world=$out
config=configs/rl
[ -f "$config/arguments.sh" ] || { echo "$script: start it in the root of the repository" >&2; exit 2; }
. $config/arguments.sh
at_most 1 "$@"
program
start demo
. configs/demo/stage.sh
. $config/world.sh
. $config/first_stage.sh
mkdir -p "$out"
worlds 1500 1200
stage warm-start "$demo/instruct/model/model.safetensors $out/warm.done $config/warm.json" \
  "$onevision" train --config $config/warm.json --model "$demo/instruct/model" --data "$out/warm/instruct/conversations.json" --out "$out/warm-start"
first_stage first "$out/warm-start/model" 219 first-selection
model=$out/first/model
questions=$out/both/instruct/conversations.json
programs="think think_first think_middle think_last" # of two and of three lines, every line asked
normal="three_first three_middle three_last variable_value variable_sum"

# shellcheck disable=SC2086  # programs is a list
stage selection "$model/model.safetensors $out/both.done $config/prompts.json $config/select.json" \
  "$onevision" rl-select --config $config/prompts.json --config $config/select.json --model "$model" --data "$questions" --templates $programs $normal \
  --out "$out/selection"
# shellcheck disable=SC2086
stage thinking "$model/model.safetensors $out/selection.done $config/thinking.json" \
  "$onevision" rl --config $config/prompts.json --config $config/thinking.json --model "$model" --data "$questions" \
  --templates $programs $normal --out "$out/thinking"
for part in instruct before between after; do
  case $part in
    instruct) asked=$demo/instruct/model ;;
    before) asked=$out/warm-start/model ;;
    between) asked=$model ;;
    after) asked=$out/thinking/model ;;
  esac
  stage reasoning-$part "$asked/model.safetensors $out/held-out.done configs/demo/reasoning.json" \
    "$onevision" eval --model "$asked" --data "$out/held-out/reasoning" --tasks configs/demo/reasoning.json --out "$out/reasoning-$part"
  stage eval-$part "$asked/model.safetensors configs/demo/eval.json" \
    "$onevision" eval --model "$asked" --data "$demo/world/test" --tasks configs/demo/eval.json --out "$out/eval-$part"
done
stage report "$out/first.done $out/thinking.done" "$onevision" report --title "RL with thinking, small" --stages warm-start="$out/warm-start" first="$out/first" thinking="$out/thinking" --out "$out/report.html"
for part in reasoning eval; do
  printf '\n%s, after stage 1 against its start:\n' $part
  "$onevision" rl-table --before "$out/$part-before" --after "$out/$part-between" --runs "$out/first"
  for from in before instruct; do
    printf '\n%s, after both stages against %s:\n' $part "$(case $from in before) echo their start ;; *) echo 'the instruct model' ;; esac)"
    "$onevision" rl-table --before "$out/$part-$from" --after "$out/$part-after" --runs "$out/first" "$out/thinking"
  done
done
echo
echo "$out/report.html shows reward, length, entropy, staleness and clipping, step by step."
