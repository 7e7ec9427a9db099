#!/bin/sh
# The recipe in bf16 beside the recipe in f32, from the same seeds: the mean of the eight categories, and the lowest. It fails when bf16's mean
# over the seeds is more than a point below f32's.
#
#   sh tests/tools/bf16_table.sh [BUILD [SEEDS]]     seeds "published 2 3" unless given; what stands is not made again
set -eu
build=${1:-build}
number() { sed -nE "s/^  \"$2\": ([0-9.e-]+),?\$/\1/p" "$1"; }
lowest() { sed -nE 's/^      "accuracy": ([0-9.e-]+),?$/\1/p' "$1" | sort -g | head -n 1; }

seeds=${2:-published 2 3}
for seed in $seeds; do
  [ "$seed" = published ] && drawn= || drawn=$seed
  for type in "" bf16; do
    sh configs/demo/recipe.sh "$build" ${drawn:+seed=$drawn} ${type:+dtype=$type} >&2
    eval=$build/demo${drawn:+-seed$drawn}${type:+-$type}/eval.json
    echo "$seed ${type:-f32} $(number "$eval" mean) $(lowest "$eval")"
  done
done | awk -v seeds="$(echo "$seeds" | wc -w)" '
  { printf "%-10s %-5s mean %.4f, lowest category %.3f\n", $1, $2, $3, $4; sum[$2] += $3; ++n[$2] }
  END {
    if (n["f32"] != seeds || n["bf16"] != seeds) { print "not every seed came to its end"; exit 1 }
    lost = sum["f32"] / n["f32"] - sum["bf16"] / n["bf16"]
    printf "bf16 loses %.2f points in the mean of %d seeds, 1 is allowed\n", 100 * lost, n["f32"]
    exit lost > 0.01
  }'
