# Sourced by demo.sh and table.sh. Needs world.sh, $onevision, $out and $config.
#
# Stage 1, as short as stage 2 needs it: counts and boxes by the answer alone, 50 steps of counts.json (counts.sh follows it for
# longer, beside other filters). Of its questions are taken those that some of eight rollouts answer and some do not.
counts="count count_color count_shape box text_box"
first_stage() {  # first_stage RUN MODEL SEED SELECTION: the trained model stands in $out/RUN/model; runs may share a selection
  draw counts rl_counts 611 2500 0
  # shellcheck disable=SC2086  # a list
  stage "$4" "$2/model.safetensors $out/counts.done $config/prompts.json" \
    "$onevision" rl-select --config $config/prompts.json --model "$2" --data "$out/counts/instruct/conversations.json" --templates $counts \
    --rl.max_new_tokens 24 --rl.group 8 --rl.max_running 256 --rl.blind true --rl.grey 156 --rl.task_filter false --rl.reward_filter band \
    --rl.low 0 --rl.high 1 --out "$out/$4"
  # shellcheck disable=SC2086
  stage "$1" "$2/model.safetensors $out/$4.done $config/counts.json" \
    "$onevision" rl --config $config/counts.json --rl.seed "$3" --templates $counts --data "$out/counts/instruct/conversations.json" \
    --keep "$out/$4/kept.jsonl" --model "$2" --steps 50 --out "$out/$1"
}
