#!/bin/sh
# Ten pictures are drawn, a small model learns the answers about them by heart, and is asked. Every step is a
# plain command, printed before it runs. A finished demonstration is shown again, not run again: remove build/demo to start over.
set -eu
build=${1:-build}
out=$build/demo
onevision=$build/onevision

run() {
  printf '\n$ %s\n' "$*"
  "$@"
}

if [ ! -f "$out/lessons/conversations.json" ]; then
  run "$onevision" synth --out "$out/lessons"
fi
if [ ! -f "$out/start/DONE" ]; then
  run "$onevision" merge --init random --config configs/model/tiny.json --tokenizer data/tokenizer --out "$out/start"
fi
if [ ! -f "$out/model/DONE" ]; then
  run "$onevision" train --config configs/demo/lessons.json --model "$out/start" --data "$out/lessons/conversations.json" \
    --out "$out/run"
  rm -rf "$out/model" && cp -R "$out/run/model" "$out/model.partial" && mv "$out/model.partial" "$out/model"
fi
run "$onevision" recall --model "$out/model" --data "$out/lessons/conversations.json"
picture=$out/lessons/images/lesson_00.jpg
printf '\nThe model stands in %s/model. This shows the machinery: ten pictures, taught by heart, asked again.\nAsk it yourself:\n  %s generate --model %s/model --image %s --prompt "%s"\n' \
  "$out" "$onevision" "$out" "$picture" "What colour is the triangle?"
