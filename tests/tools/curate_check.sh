#!/bin/sh
# `curate` at size: N pictures of the toy world (100 000), a tenth of them, and N again in three shards. Memory must not follow the
# number of records, and shards must not show in the output.
#
#   sh tests/tools/curate_check.sh BUILD [N]
set -eu
build=$1 n=${2-100000} dir=$1/curate-check
rm -rf "$dir" && mkdir -p "$dir"
"$build/onevision" synth --what world --synth.instruct "$n" --synth.captions $((n / 10)) --synth.regions 4 --synth.text 20 --synth.test 1 --out "$dir/world"
head -n $((n / 10)) "$dir/world/instruct/conversations.json" | sed '1d; $ s/,$//; 2 s/^/[/' | sed '$ s/$/]/' >"$dir/world/instruct/tenth.json"
for part in conversations tenth; do
  cat >"$dir/$part.json" <<JSON
{"sources": [{"name": "instruct", "path": "world/instruct/$part.json", "licence": "cc0-1.0", "category": "vqa"},
             {"name": "captions", "path": "world/captions", "licence": "cc0-1.0", "category": "caption"}]}
JSON
done
peak() {  # peak NAME ARGUMENTS...: runs curate, prints records a second and the largest resident memory in KB
  name=$1; shift
  python3 - "$build/onevision" "$@" >"$dir/peak" <<'PY'  # no pipe: its end would hide a failure
import resource, subprocess, sys, time
start = time.time()
out = subprocess.run([sys.argv[1], "curate", *sys.argv[2:]], capture_output=True, text=True)
if out.returncode: sys.exit(out.stderr)
took, last = time.time() - start, out.stdout.strip().split("\n")[-1]
print(f"{last.split(';')[0]}, {int(last.split()[0]) / took:.0f} records/s, {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss} KB")
PY
  sed "s/^/$name: /" "$dir/peak" | tee -a "$dir/peaks"
}
peak tenth --manifest "$dir/tenth.json" --out "$dir/small"
peak whole --manifest "$dir/conversations.json" --out "$dir/out"
for shard in 1/3 2/3 3/3 merge; do "$build/onevision" curate --manifest "$dir/conversations.json" --out "$dir/sharded" --shard $shard; done
for file in records.jsonl audit.jsonl card.json card.html; do cmp "$dir/out/$file" "$dir/sharded/$file"; done
awk '{ kb[NR] = $(NF - 1) }
  END { if (NR != 2 || !(kb[1] > 0)) { print "curate-check: expected two peaks, found " NR; exit 1 }
        if (kb[2] > 1.5 * kb[1]) { print "curate-check: memory grows with the records"; exit 1 } }' "$dir/peaks"
echo "curate-check: the same bytes in shards, memory flat"
