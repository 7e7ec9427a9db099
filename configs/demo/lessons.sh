#!/bin/sh
# Ten pictures are drawn, a small model learns the answers about them by heart, and is asked. Every step is a plain
# command, printed before it runs; what is done is not run again (stage.sh).
#
#   lessons.sh [BUILD [DTYPE]]
set -eu
build=${1:-build} dtype=${2:-f32}
out=$build/lessons
onevision=$build/onevision
. configs/demo/stage.sh
mkdir -p "$out"
lessons=$out/lessons/conversations.json

stage lessons "data/toy_world/lessons.json" "$onevision" synth --out "$out/lessons"
stage start "configs/model/tiny.json data/tokenizer/tokenizer.json" \
  "$onevision" merge --init random --config configs/model/tiny.json --tokenizer data/tokenizer --out "$out/start"
stage run "$out/lessons.done $out/start.done configs/demo/lessons.json" \
  "$onevision" train --config configs/demo/lessons.json --model "$out/start" --data "$lessons" --dtype "$dtype" --out "$out/run"
rm -rf "$out/model.partial" && cp -R "$out/run/model" "$out/model.partial" && rm -rf "$out/model" && mv "$out/model.partial" "$out/model"

printf '\n$ %s\n' "$onevision recall --model $out/model --data $lessons --dtype $dtype"
"$onevision" recall --model "$out/model" --data "$lessons" --dtype "$dtype"
cat <<TEXT

The model stands in $out/model. This shows the machinery: ten pictures, taught by heart, asked again. Ask it yourself:
  $onevision generate --model $out/model --image $out/lessons/images/lesson_00.jpg --prompt "What colour is the triangle?"
TEXT
