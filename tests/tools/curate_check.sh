#!/bin/sh
# `curate` at size: N pictures of the toy world (100 000), a tenth of them, and N again in three shards, with every layout of the golden
# folders beside them, a third of the records put into Chinese, and a tenth reworded by an endpoint: a table on the loopback that counts.
# Memory must not follow the number of records, shards must not show in the output, and nothing may be asked twice.
#
#   sh tests/tools/curate_check.sh BUILD [N]
set -eu
build=$1 n=${2-100000} dir=$1/curate-check
rm -rf "$dir" && mkdir -p "$dir"
"$build/onevision" synth --what world --synth.instruct "$n" --synth.captions $((n / 10)) --synth.regions 4 --synth.text 20 --synth.test 1 --out "$dir/world"
head -n $((n / 10)) "$dir/world/instruct/conversations.json" | sed '1d; $ s/,$//; 2 s/^/[/' | sed '$ s/$/]/' >"$dir/world/instruct/tenth.json"

# A manifest for each size. Of the Parquet files those with a column of conversations, which is told by what stands beside them.
python3 - "$dir" <<'PY'
import glob, json, os, sys
directory = sys.argv[1]
golden = sorted(glob.glob("tests/golden/instruct/*.jsonl")) + sorted(p.rstrip("/") for p in glob.glob("tests/golden/webdataset/*/"))
for path in sorted(glob.glob("tests/golden/parquet/*.parquet")):
    made = json.load(open(path[:-8] + ".json"))
    if made["values"] and {c["name"] for c in made["columns"]} & {"conversations", "messages", "caption"}: golden.append(path)
assert len(golden) > 12, golden
for part in "conversations", "tenth":
    sources = [{"name": "instruct", "path": f"world/instruct/{part}.json", "licence": "cc0-1.0", "category": "vqa"},
               {"name": "captions", "path": "world/captions", "licence": "cc0-1.0", "category": "caption"}]
    sources += [{"name": f"golden-{i}", "path": os.path.abspath(p), "licence": "cc0-1.0"} for i, p in enumerate(golden)]
    json.dump({"sources": sources}, open(f"{directory}/{part}.json", "w"))
PY

# The endpoint: a question comes back behind two words; what it was asked twice is counted.
cat >"$dir/table.py" <<'PY'
import collections, hashlib, http.server, json, sys
asked = collections.Counter()
class Table(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def say(self, text):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def do_GET(self): self.say(f"{sum(asked.values())} {len(asked)}".encode())
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked[hashlib.sha256(body).digest()] += 1
        user = json.loads(json.loads(body)["messages"][1]["content"])
        said = "yes" if "after" in user else "请 说 : " + user["question"] if user["question"][0] > "\x7f" else "Please tell: " + user["question"]
        self.say(json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}]}).encode())
    def log_message(self, *_): pass
    def setup(self):
        self.wbufsize = -1  # one packet an answer
        super().setup()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Table)
print(server.server_address[1], flush=True)
server.serve_forever()
PY
python3 "$dir/table.py" >"$dir/port" & table=$!
trap 'kill $table' EXIT
while [ ! -s "$dir/port" ]; do sleep 0.1; done
port=$(cat "$dir/port")

curate() {  # curate ARGUMENTS...: with all that it may do
  "$@" --bilingual.zh 0.33 --bilingual.by phrases --url "http://127.0.0.1:$port/v1" --rewrite.share 0.1 --rewrite.cache "$dir/answers" --rewrite.at_once 8
}
peak() {  # peak NAME ARGUMENTS...: runs curate, prints records a second and the largest resident memory in KB
  name=$1; shift
  cat >"$dir/peak.py" <<'PY'
import resource, subprocess, sys, time
start = time.time()
out = subprocess.run(sys.argv[1:], capture_output=True, text=True)
if out.returncode: sys.exit(out.stderr)
took, last = time.time() - start, out.stdout.strip().split("\n")[-1]
print(*[line for line in out.stderr.split("\n") if "endpoint:" in line])
print(f"{last.split(';')[0]}, {int(last.split()[0]) / took:.0f} records/s, {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss} KB")
PY
  curate python3 "$dir/peak.py" "$build/onevision" curate "$@" >"$dir/peak"  # no pipe: its end would hide a failure
  head -n 1 "$dir/peak"
  tail -n 1 "$dir/peak" | sed "s/^/$name: /" | tee -a "$dir/peaks"
}
peak tenth --manifest "$dir/tenth.json" --out "$dir/small"
peak whole --manifest "$dir/conversations.json" --out "$dir/out"
for shard in 1/3 2/3 3/3 merge; do curate "$build/onevision" curate --manifest "$dir/conversations.json" --out "$dir/sharded" --shard $shard >/dev/null; done
for file in records.jsonl audit.jsonl card.json card.html; do cmp "$dir/out/$file" "$dir/sharded/$file"; done
asked=$(python3 -c "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:$port/').read().decode())")
echo "$asked" | awk '{ print $1 " requests, " $2 " different ones"; if ($1 != $2 || $1 == 0) { print "curate-check: asked twice, or nothing"; exit 1 } }'
python3 - "$dir/out/card.json" <<'PY'
import json, sys
card = json.load(open(sys.argv[1]))
print("languages", card["languages"], "translated", card["translated"], "rewritten", card["rewritten"])
for s in card["steps"]:
    assert s["in"] == s["out"] + sum(w["n"] for w in s["rejected"].values()), s["step"]
assert card["translated"]["by phrases"] > 0 and card["rewritten"]["by an endpoint"] > 0
PY
awk '{ kb[NR] = $(NF - 1) }
  END { if (NR != 2 || !(kb[1] > 0)) { print "curate-check: expected two peaks, found " NR; exit 1 }
        if (kb[2] > 1.5 * kb[1]) { print "curate-check: memory grows with the records"; exit 1 } }' "$dir/peaks"
echo "curate-check: the same bytes in shards, nothing asked twice, memory flat"
