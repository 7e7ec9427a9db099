#!/bin/sh
# RICE's classes from clusters, as in the paper, and what they are worth (rice_pretraining, 9.3, test 9): a CLIP is trained on the toy world's
# captions, embeds the objects of its region files, and k-means makes the classes. Then the tower is trained three ways on the same pictures
# in the same order, and judged on held-out pictures (tests/tools/rice_probe.cpp):
#
#   regions+ocr   every object and every string
#   regions       the objects alone: the strings' loss weighs nothing
#   pictures      one object a picture, the whole of it, in as many clusters: what discriminating whole pictures learns (MLCD)
#
#   sh tests/tools/rice_table.sh BUILD [SEEDS] [SIZE]     seeds "1 2 3" and size full unless given; small: minutes, too short to judge
#
# The table goes to stdout. With size full it fails unless, in the mean over the seeds, every probe of an object's words and of patches is
# better with regions than with pictures, characters are better with the strings' loss than without, and the nearest centre is ten times chance.
set -eu
program=$1/onevision
probe=$1/rice-probe
seeds=${2:-1 2 3}
size=${3:-full}
dir=$1/rice-table-$size
case $size in
  full) captions=12000 regions=6000 held=1000 clip_steps=4000 steps=3000 k=400 ;;
  small) captions=300 regions=300 held=150 clip_steps=40 steps=30 k=40 ;;
  *) echo "rice_table: size full or small, not $size" >&2; exit 2 ;;
esac
mkdir -p "$dir"
quietly() { "$@" >"$dir/log" 2>&1 || { cat "$dir/log" >&2; return 1; }; }
world() {  # world NAME SEED CAPTIONS REGIONS
  [ -e "$dir/$1/DONE" ] || quietly "$program" synth --what world --synth.seed "$2" --synth.instruct 3 --synth.captions "$3" \
    --synth.regions "$4" --synth.text 20 --synth.test 1 --out "$dir/$1"
}

world train 1 "$captions" "$regions"
world held 2 1 "$held"
train=$dir/train/regions/regions.jsonl held_out=$dir/held/regions/regions.jsonl whole=$dir/train/regions/whole.jsonl
"$probe" whole "$train" "$whole"
quietly "$program" pretrain --what clip --config configs/model/clip-demo.json --tokenizer data/tokenizer --captions "$dir/train/captions" \
  --steps "$clip_steps" --train.micro_batches 1 --train.micro_batch_samples 32 --lr 2e-3 --schedule.warmup 0.05 --out "$dir/clip"
for f in "$train" "$held_out" "$whole"; do
  quietly "$program" embed --model "$dir/clip/model" --regions "$f" --out "$dir/$(echo "${f#"$dir"/}" | tr / -).safetensors"
done
# Held-out regions are clustered too, so that they have labels; the tower never sees them.
cluster() {  # cluster NAME NAMES EMBEDDINGS...
  name=$1 names=$2; shift 2
  quietly "$program" cluster --embeddings "$@" --k "$k" ${names:+--names "$names"} --out "$dir/$name"
  sed -n 's/^  "\(clusters\|empty\|objective\|effective_clusters\|purity\|nmi\)": /\1 /p' "$dir/$name.report.json" | tr '\n' ' '
}
echo "object clusters:  $(cluster objects "$train" "$dir/train-regions-regions.jsonl.safetensors")"
quietly "$program" cluster --embeddings "$dir/train-regions-regions.jsonl.safetensors" "$dir/held-regions-regions.jsonl.safetensors" \
  --k "$k" --out "$dir/objects"
echo "picture clusters: $(cluster pictures "" "$dir/train-regions-whole.jsonl.safetensors")"

model="--what vision --config configs/model/demo.json --config configs/demo/pretrain-vision.json"
rm -f "$dir/table"
for seed in $seeds; do
  for way in regions+ocr regions pictures; do
    out=$dir/$way-$seed
    case $way in
      regions+ocr) data="--regions $train --clusters $dir/objects" ;;
      regions) data="--regions $train --clusters $dir/objects --rice.characters.weight 0" ;;
      pictures) data="--regions $whole --clusters $dir/pictures" ;;
    esac
    quietly "$program" pretrain $model $data --pretrain.seed "$seed" --steps "$steps" --train.save_every "$steps" --out "$out"
    judged=$dir/objects
    [ $way != pictures ] || judged=-
    "$probe" "$train" "$held_out" "$judged" "$out" $model | sed "s/^/$way /" >>"$dir/table"
  done
done

# A column a number; a row a way with the mean over seeds and, behind it, the standard deviation.
awk -v size="$size" '
  {
    way = $1; if (!(way in runs)) order[++ways] = way
    ++runs[way]
    line = $0; sub(/^[^{]*\{/, "", line); gsub(/["}]/, "", line)
    n = split(line, field, ",")
    for (i = 1; i <= n; ++i) {
      split(field[i], part, ":"); key = part[1]
      if (key == "run" || part[2] == "null") continue
      if (!(key in known)) { known[key] = 1; keys[++columns] = key }
      sum[way, key] += part[2]; square[way, key] += part[2] * part[2]; ++count[way, key]
    }
  }
  function mean(way, key) { return sum[way, key] / count[way, key] }
  function better(a, b, key) { if (mean(a, key) > mean(b, key)) return; print "NOT better: " key ", " a " against " b; wrong = 1 }
  END {
    printf "%-12s", "way"; for (c = 1; c <= columns; ++c) printf " %17s", keys[c]; print ""
    for (w = 1; w <= ways; ++w) {
      way = order[w]; printf "%-12s", way
      for (c = 1; c <= columns; ++c) {
        key = keys[c]
        if (!count[way, key]) { printf " %17s", "-"; continue }
        m = mean(way, key); v = square[way, key] / count[way, key] - m * m
        printf " %8.4f +- %5.4f", m, sqrt(v > 0 ? v : 0)
      }
      print ""
    }
    for (c = 1; c <= columns; ++c)
      if (keys[c] ~ /^word_/ || keys[c] == "patch") better("regions", "pictures", keys[c])
    better("regions+ocr", "regions", "character_ap")
    if (mean("regions", "nearest_centre") < 10 / mean("regions", "classes")) { print "NOT ten times chance: nearest_centre"; wrong = 1 }
    if (wrong && size == "full") exit 1
  }' "$dir/table"
