#!/bin/sh
# The page that `serve` shows at /, in a headless Chromium: what page_check.py does there. Exit 77 where there is no Chromium
# (Debian: apt-get install chromium). Screenshots are under BUILD/page.
#
#   sh tests/tools/page_check.sh [BUILD [MODEL [PICTURE]]]      MODEL: the demonstration's, if it was made, else a small random one; PICTURE: a JPEG
set -eu
build=${1:-build} model=${2:-} picture=${3:-data/demo/3.jpg}
command -v chromium >/dev/null || exit 77
at=$build/page
mkdir -p "$at"
[ -n "$model" ] || model=$build/demo/instruct/model
if [ ! -d "$model" ]; then
  model=$at/model
  [ -d "$model" ] || "$build/onevision" merge --config configs/model/tiny.json --tokenizer data/tokenizer --out "$model" 2>"$at/merge.log"
fi
"$build/onevision" serve --model "$model" --name demo --port 0 --serve.max_tokens 40 >"$at/ready.txt" 2>"$at/serve.log" &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
for _ in $(seq 600); do grep -q '^ready' "$at/ready.txt" && break; sleep 0.1; done
url=$(sed -n 's/^ready: \([^,]*\)v1,.*/\1/p' "$at/ready.txt")
[ -n "$url" ] || { echo "page_check.sh: the server did not start; see $at/serve.log" >&2; exit 1; }
python3 tests/tools/page_check.py "$url" "$picture" "$at"
