#!/bin/sh
# The openai Python package, unmodified, against `serve`: `make clients-check`. Environment and logs are under build/clients.
# Needs PyPI once; exit 77 without it. What is checked: tests/tools/clients_check.py.
set -eu
build=${1:-build}
at=$build/clients
mkdir -p "$at"
[ -x "$at/venv/bin/python" ] || python3 -m venv "$at/venv" || { rm -rf "$at/venv"; exit 77; }
"$at/venv/bin/python" -c 'import openai' 2>/dev/null || "$at/venv/bin/pip" install -q 'openai==1.109.1' || exit 77

# A small random model: its answers are nonsense, which is as good for a protocol.
[ -d "$at/model" ] || "$build/onevision" merge --config configs/model/tiny.json --tokenizer data/tokenizer --out "$at/model" 2>"$at/merge.log" ||
  { cat "$at/merge.log" >&2; exit 1; }

"$build/onevision" serve --model "$at/model" --port 0 --api_key secret >"$at/ready.txt" 2>"$at/serve.log" &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
for _ in $(seq 300); do grep -q '^ready' "$at/ready.txt" && break; sleep 0.1; done
url=$(sed -n 's/^ready: \([^,]*\),.*/\1/p' "$at/ready.txt")
[ -n "$url" ] || { echo "clients_check.sh: the server did not start; see $at/serve.log" >&2; exit 1; }
"$at/venv/bin/python" tests/tools/clients_check.py "$url" secret && status=0 || status=$?
kill -TERM $server
wait $server || { echo "clients_check.sh: the server did not stop in order" >&2; status=1; }
trap - EXIT
exit $status
