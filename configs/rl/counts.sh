#!/bin/sh
# Stage 1 of RL on the toy world, behind `make demo`: how many and where, by the answer alone, from the instruct model. Beside
# each other, after 50, 100 and 150 steps, on the same 1200 held-out questions:
#
#   all        every question
#   released   questions whose eight rollouts earn between 0 and 0.6 on average: the release's filter
#   ours       between 0 and 1: none is dropped but those that all rollouts answer alike
#   taught     supervised steps on the same pictures, three in place of one: as many FLOPs, about as many questions a step
#
# Under the last table of each stand the FLOPs of its runs.
#
# `make rl-counts` runs it with three seeds.
#
#   counts.sh [BUILD [SEEDS [ARMS [START]]]]      START: directory of `make demo` under BUILD
set -eu
script=counts.sh
build=${1:-build}
seeds=${2:-"219"}
arms=${3:-"all released ours taught"}
onevision=$build/onevision
first=${4:-demo}
demo=$build/$first
out=$build/rl-counts-$first
world=$out
config=configs/rl
instruct=$demo/instruct/model
[ -f "$config/arguments.sh" ] || { echo "$script: start it in the root of the repository" >&2; exit 2; }
. $config/arguments.sh
at_most 4 "$@"
program
start "$first"
numbers seed "$seeds"
among "$arms" "all released ours taught"
. configs/demo/stage.sh
. $config/world.sh
mkdir -p "$out"
draw counts rl_counts 611 2500 0
draw counts-held-out default 511 0 1200
questions=$out/counts/instruct/conversations.json
held_out=$out/asked # of the eight categories one
mkdir -p "$held_out"
cp "$out/counts-held-out/test/grounding_counting.jsonl" "$out/counts-held-out/test/commonest_answers.json" "$held_out"
ln -sfn ../counts-held-out/test/images "$held_out/images"
templates="count count_color count_shape box text_box"

ask() {  # ask NAME MODEL
  "$onevision" eval --model "$2" --data "$held_out" --tasks $config/counts_tasks.json --out "$out/$1-counts"
}
select_by() {  # select_by NAME HIGH: the questions whose mean reward is above 0 and below HIGH; rollouts are written once
  # shellcheck disable=SC2086  # a list
  "$onevision" rl-select --config $config/prompts.json --model "$instruct" --data "$questions" --templates $templates --rl.max_new_tokens 24 \
    --rl.group 8 --rl.max_running 256 --rl.blind true --rl.grey 156 --rl.task_filter false --rl.reward_filter band --rl.low 0 --rl.high "$2" --out "$out/selection"
  cp "$out/selection/kept.jsonl" "$out/kept-$1.jsonl"
}
select_both() {  # on two lines: on the left of && set -e ends nothing
  select_by released 0.6
  select_by ours 1
}
curve() {  # curve NAME COMMAND...: the run, stopped and asked after 50 and 100 steps; it goes on with the same bits
  name=$1
  shift
  for steps in 50 100 150; do
    "$@" --steps $((steps * each)) --out "$out/$name/run"
    "$onevision" eval --model "$out/$name/run/model" --data "$held_out" --tasks $config/counts_tasks.json --out "$out/$name/after-$steps"
  done
}

stage before "$instruct/model.safetensors $out/counts-held-out.done $config/counts_tasks.json" ask before "$instruct"
stage before-eval "$instruct/model.safetensors configs/demo/eval.json" \
  "$onevision" eval --model "$instruct" --data "$demo/world/test" --tasks configs/demo/eval.json --out "$out/before-eval"
stage selection "$instruct/model.safetensors $out/counts.done $config/prompts.json" select_both
for arm in $arms; do
  for seed in $seeds; do
    run=$arm-$seed
    kept= each=1
    set -- --model "$instruct" --data "$questions"
    case $arm in
      taught) each=3 && set -- train --config $config/counts_taught.json --seed "$seed" "$@" ;;
      # shellcheck disable=SC2086
      *) set -- rl --config $config/counts.json --rl.seed "$seed" --templates $templates "$@" ;;
    esac
    case $arm in released | ours) kept=$out/kept-$arm.jsonl && set -- "$@" --keep "$kept" ;; esac
    stage "$run" "$instruct/model.safetensors $out/counts.done $out/counts-held-out.done $config/counts.json $config/counts_taught.json $kept" curve "$run" "$onevision" "$@"
    stage "$run-eval" "$out/$run/run/model/model.safetensors configs/demo/eval.json" \
      "$onevision" eval --model "$out/$run/run/model" --data "$demo/world/test" --tasks configs/demo/eval.json --out "$out/$run-eval"
  done
done
predictions() {  # predictions RUN-PATTERN: one file a seed, with SEED in its place
  for seed in $seeds; do printf '%s ' "$out/$(printf %s "$1" | sed "s/SEED/$seed/")/predictions.jsonl"; done
}
for arm in $arms; do
  # shellcheck disable=SC2046  # lists
  for steps in 50 100 150; do
    printf '\n%s, after %s steps, against the instruct model\n' "$arm" $steps
    "$onevision" rl-table --before $(predictions before-counts) --after $(predictions "$arm-SEED/after-$steps")
  done
  printf '\n%s, after 150 steps, all categories\n' "$arm"
  # shellcheck disable=SC2046
  "$onevision" rl-table --before $(predictions before-eval) --after $(predictions "$arm-SEED-eval") \
    --runs $(for seed in $seeds; do printf '%s ' "$out/$arm-$seed/run"; done)
done
shown= ends=
for arm in $arms; do
  run=$out/$arm-${seeds%% *}
  shown="$shown $arm=$run/run" ends="$ends $run.done"
done
# shellcheck disable=SC2086
stage report "$ends" "$onevision" report --title "RL of counts and boxes" --stages $shown --out "$out/report.html"
