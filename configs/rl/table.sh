#!/bin/sh
# Stage 2 of RL beside its controls: two starting models (seeds of `make demo`, each with a warm start), three seeds each; every
# run is a stage, so a night that was cut goes on. Every run shows its held-out programs when it is done; when an arm's last run is
# done, a table pools them: paired differences to the starting models, question by question.
#
#   thinking   RL with chains and without, rewarded by the answer alone
#   shuffled   the same with the rewards of a step in another order: must not rise
#   answers-rl RL without chains: the normal questions alone, in as many steps as take the FLOPs of `thinking`
#   answers    supervised: the same pictures' normal questions with their answers, in as many steps as take them too
#   chains     supervised: the same pictures' thinking questions with gold chains, in the steps of `thinking`: the upper reference
#   stages     both stages: first counts and boxes, by the answer alone (counts.json, 50 steps, questions of which some
#              rollouts are right), then `thinking` from the model that comes of it; its replay asks counts and boxes too
#
# Under each table stand the FLOPs of its runs: of training, of writing rollouts, of reading them with the reference model.
#
#   table.sh [BUILD [STARTS [SEEDS [STEPS [ARMS]]]]]      STARTS: directories of `make demo` under BUILD
set -eu
script=table.sh
build=${1:-build}
starts=${2:-"demo demo-seed2"}
seeds=${3:-"219 220 221"}
steps=${4:-}
onevision=$build/onevision
out=$build/rl-table
world=$out
config=configs/rl
arms=${5:-"thinking shuffled answers-rl answers chains stages"}
[ -f "$config/arguments.sh" ] || { echo "$script: start it in the root of the repository" >&2; exit 2; }
. $config/arguments.sh
at_most 5 "$@"
program
some start "$starts"
for first in $starts; do start "$first"; done
numbers seed "$seeds"
case $steps in *[!0-9]* | 0) refuse "steps '$steps': expected a whole number of at least 1" ;; esac
among "$arms" "thinking shuffled answers-rl answers chains stages"
. configs/demo/stage.sh
. $config/world.sh
. $config/first_stage.sh
mkdir -p "$out"
worlds 1500 1200
taught_worlds 1500
programs="think think_first think_middle think_last"
normal="three_first three_middle three_last variable_value variable_sum"

ask() {  # ask NAME MODEL START
  stage "$1-reasoning" "$2/model.safetensors $out/held-out.done configs/demo/reasoning.json" \
    "$onevision" eval --model "$2" --data "$out/held-out/reasoning" --tasks configs/demo/reasoning.json --out "$out/$1-reasoning"
  stage "$1-eval" "$2/model.safetensors configs/demo/eval.json" \
    "$onevision" eval --model "$2" --data "$build/$3/world/test" --tasks configs/demo/eval.json --out "$out/$1-eval"
}
arm() {  # arm NAME ARM MODEL SEED
  data=both
  both="--config $config/prompts.json --config $config/thinking.json --data $out/both/instruct/conversations.json --rl.seed $4"
  taught="--config $config/taught.json --seed $4 --data" own=$steps
  case $2 in
    thinking | stages) set -- "$@" rl $both --templates $programs $normal ;;
    shuffled) set -- "$@" rl $both --templates $programs $normal --rl.shuffle_rewards true ;;
    answers-rl) set -- "$@" rl $both --templates $normal --rl.max_new_tokens 16 && own=${steps:-195} ;;
    answers) data=answers && set -- "$@" train $taught "$out/answers/instruct/conversations.json" && own=${steps:-1160} ;;
    chains) data=chains && set -- "$@" train $taught "$out/chains/instruct/conversations.json" ;;
  esac
  name=$1 model=$3
  shift 4
  stage "$name" "$model/model.safetensors $config/prompts.json $config/thinking.json $config/taught.json $out/$data.done" \
    "$onevision" "$@" --model "$model" ${own:+--steps $own} --out "$out/$name"
}
predictions() {  # predictions ARM PART: one file a run; `before` RL and of the `instruct` model the same one for each seed
  for first in $starts; do
    for seed in $seeds; do
      case $1 in before | instruct) run=$first-$1 ;; *) run=$first-$seed-$1 ;; esac
      printf '%s ' "$out/$run-$2/predictions.jsonl"
    done
  done
}
runs() {  # runs ARM
  for first in $starts; do
    for seed in $seeds; do
      printf '%s ' "$out/$first-$seed-$1"
      [ "$1" != stages ] || printf '%s ' "$out/$first-$seed-$1-first"
    done
  done
}

for first in $starts; do
  stage "$first-warm" "$build/$first/instruct/model/model.safetensors $out/warm.done $config/warm.json" \
    "$onevision" train --config $config/warm.json --model "$build/$first/instruct/model" --data "$out/warm/instruct/conversations.json" --out "$out/$first-warm"
  ask "$first-instruct" "$build/$first/instruct/model" "$first"
  ask "$first-before" "$out/$first-warm/model" "$first"
done
for arm in $arms; do
  for first in $starts; do
    for seed in $seeds; do
      run=$first-$seed-$arm
      origin=$out/$first-warm/model
      if [ "$arm" = stages ]; then
        first_stage "$run-first" "$origin" "$seed" "$first-counts-selection"
        origin=$out/$run-first/model
        ask "$run-first" "$origin" "$first"
      fi
      arm "$run" "$arm" "$origin" "$seed"
      ask "$run" "$out/$run/model" "$first"
      "$onevision" rl-table --before "$out/$first-before-reasoning/predictions.jsonl" --after "$out/$run-reasoning/predictions.jsonl" \
        --runs "$out/$run"
    done
  done
  for part in reasoning eval; do
    for start in before instruct; do
      case $start in before) what="warm starts" ;; instruct) what="instruct models" ;; esac
      printf '\n%s, %s: against the %s, all runs\n' "$arm" $part "$what"
      # shellcheck disable=SC2046  # lists
      "$onevision" rl-table --before $(predictions $start $part) --after $(predictions "$arm" $part) --runs $(runs "$arm")
    done
  done
done
shown= ends=
for arm in $arms; do
  for first in $starts; do
    run=$out/$first-${seeds%% *}-$arm
    shown="$shown $first-$arm=$run" ends="$ends $run.done"
  done
done
# shellcheck disable=SC2086
stage report "$ends" "$onevision" report --title "RL with thinking, beside its controls" --stages $shown --out "$out/report.html"
