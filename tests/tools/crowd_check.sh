#!/bin/sh
# 300 questions of the demonstration through `serve`, by 64 clients at once: crowd_check.py against servers that run in every way
# which must not matter (threads, chunks, sharing, answers at once), greedy and sampled.
#
#   sh tests/tools/crowd_check.sh [BUILD [MODEL [WORLD]]]   the demonstration's, if it was made; else a random model and a small world
set -eu
build=${1:-build} model=${2:-} world=${3:-}
at=$build/crowd
mkdir -p "$at"
[ -n "$model" ] || model=$build/demo/instruct/model
[ -n "$world" ] || world=$build/demo/world/test
if [ ! -d "$model" ] || [ ! -d "$world" ]; then
  model=$at/model world=$at/world/test
  [ -d "$model" ] || "$build/onevision" merge --config configs/model/tiny.json --tokenizer data/tokenizer --out "$model" 2>"$at/merge.log"
  [ -d "$world" ] || "$build/onevision" synth --what world --synth.test 40 --synth.instruct 3 --synth.captions 3 --synth.regions 4 --synth.text 20 \
    --out "$at/world" >"$at/synth.log" 2>&1
fi
server=
trap 'kill $server 2>/dev/null || true' EXIT
ask() {  # ask NAME KEY VALUE ...: a server with these keys, and its answers in NAME.json
  name=$1
  shift
  "$build/onevision" serve --model "$model" --port 0 --engine.max_waiting 0 "$@" >"$at/ready.txt" 2>"$at/$name.log" &
  server=$!
  for _ in $(seq 600); do grep -q '^ready' "$at/ready.txt" && break; sleep 0.1; done
  url=$(sed -n 's/^ready: \([^,]*\)\/v1,.*/\1/p' "$at/ready.txt")
  [ -n "$url" ] || { echo "crowd_check.sh: the server did not start; see $at/$name.log" >&2; exit 1; }
  python3 tests/tools/crowd_check.py "$url" "$world" "$at" "$name"
  kill $server && wait $server || true
}
ask alone --threads 1 --engine.chunk 512 --engine.share false
ask crowd-1 --threads 1 --engine.chunk 16 --engine.share true
ask crowd-2 --threads 2 --engine.chunk 512 --engine.share true --engine.max_running 64
ask crowd-3 --threads 2 --engine.chunk 16 --engine.share false --engine.max_running 7
