#!/bin/sh
# Whether balancing pays (data_curation.md 9, acceptance 8): from a pool of pictures whose kinds follow Zipf's law as many pictures are drawn
# balanced as at random, the same model is trained on both, and asked about every kind alike.
#
#   encoder    a CLIP, trained on a pool of its own in which all kinds are alike: the part of MetaCLIP
#   balanced   pool -> embed -> nearest of the counted vocabulary -> balance
#   random     the same draw with weights capped below the smallest, so that all pictures have one weight
#   model      from random values, on what the manifest draws (train --manifest), for the same steps in the order of the same seed
#
#   sh tests/tools/balance_table.sh BUILD [SEEDS] [SIZE [STEPS]]     seeds "1 2 3" and size full unless given; small: shows that it runs, judges
#                                       nothing; STEPS of the model's training, 400 unless given: longer, and the gain goes (tests/bench/LOG.md)
#
# A seed draws the kinds' order, the pool, the draws, the model's first values and the order of training. What stands of this program is not made again.
# The table goes to stdout, the plot to BUILD/balance-table-SIZE-STEPS-PROGRAM/pays.svg.
# With size full and no STEPS it fails unless the rarest tenth gains in the mean.
set -eu
program=$1/onevision
seeds=${2:-1 2 3}
size=${3:-full}
case $size in
  full) pool=20000 draw=1920 test=10 clip_pool=6000 clip_steps=400 steps=${4:-400} ;;
  small) pool=300 draw=60 test=1 clip_pool=100 clip_steps=10 steps=${4:-5} ;;
  *) echo "balance_table: size full or small, not $size" >&2; exit 2 ;;
esac
dir=$1/balance-table-$size-$steps-$(sha256sum "$program" | cut -c1-12) judged=
[ "$size$#" = full4 ] || [ "$size" = small ] || judged=yes
mkdir -p "$dir"
quietly() { "$@" >"$dir/log" 2>&1 || { cat "$dir/log" >&2; return 1; }; }
zipf() {  # zipf OUT SEED EXPONENT PICTURES
  [ -e "$1/DONE" ] || quietly "$program" synth --what zipf --synth.seed "$2" --synth.exponent "$3" --synth.pool "$4" \
    --synth.test_per_kind "$test" --out "$1"
}
embed() {  # embed OUT WHAT...
  out=$1; shift
  [ -e "$out" ] || quietly "$program" embed --model "$dir/clip/model" "$@" --out "$out"
}

zipf "$dir/alike" 1000 0 "$clip_pool"
quietly "$program" pretrain --what clip --config configs/model/clip-demo.json --clip.image 56 --tokenizer data/tokenizer \
  --captions "$dir/alike/pool" --steps "$clip_steps" --train.micro_batches 1 --train.micro_batch_samples 32 --lr 2e-3 \
  --schedule.warmup 0.05 --out "$dir/clip"
# Words of the question and its answers, a token each.
{
  for i in 1 2 3 4 5 6; do echo "system You are a helpful assistant. user what is this ? assistant"; done
  cat "$dir/alike/concepts.txt" "$dir/alike/concepts.txt"
} >"$dir/words.txt"
quietly "$program" tokenizer --config configs/demo/tokenizer.json --text "$dir/words.txt" --out "$dir/tokenizer"
printf '{"categories": {"Tail": {"scorer": "exact"}, "Middle": {"scorer": "exact"}, "Head": {"scorer": "exact"}}}\n' >"$dir/tasks.json"

for seed in $seeds; do
  s=$dir/seed-$seed
  zipf "$s/world" "$seed" 1.1 "$pool"
  embed "$s/pictures" --data "$s/world/pool"
  quietly "$program" concepts --data "$s/world/pool" --list "$s/world/concepts.txt" --out "$s/concepts.jsonl"
  embed "$s/words" --concepts "$s/concepts.jsonl"
  quietly "$program" merge --init random --init.seed "$seed" --config configs/model/demo.json --tokenizer "$dir/tokenizer" --out "$s/start"
  for way in random balanced; do
    cap=0
    [ "$way" = balanced ] || cap=1e-9
    quietly "$program" balance --pictures "$s/pictures" --concepts "$s/words" --k 1 --n "$draw" --draw exact --balance.seed "$seed" \
      --balance.cap "$cap" --out "$s/$way"
    [ -e "$s/$way.run/model/DONE" ] || quietly "$program" train --config configs/demo/lessons.json --model "$s/start" \
      --data "$s/world/pool" --manifest "$s/$way" --data.seed "$seed" --min_pixels 784 --steps "$steps" --lr 1.5e-3 \
      --train.micro_batches 2 --train.micro_batch_samples 16 --train.save_every "$steps" --out "$s/$way.run"
    [ -e "$s/$way.eval/eval.json" ] || quietly "$program" eval --model "$s/$way.run/model" --data "$s/world/test" \
      --tasks "$dir/tasks.json" --min_pixels 784 --max_new_tokens 16 --out "$s/$way.eval"
  done
  set -- ${done_seeds-} "$s" && done_seeds=$*
done
"$(dirname "$program")/balance-table" "$dir/pays.svg" $done_seeds || { rc=$?; [ "$rc" = 1 ] && [ -z "$judged" ]; }
