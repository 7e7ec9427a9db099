#!/bin/sh
# The commands that make a data set are killed at random times, again and again, until each comes to its end: what it wrote is what an
# undisturbed run wrote, byte for byte. And their disk fills up: each says so in one line, leaves nothing half written, and ends with the
# same bytes once there is room.
#
#   sh tests/tools/verb_kills.sh BUILD [ROUNDS]     ROUNDS runs of each, 3 unless given, every one killed up to 20 times
#   VERBS="curate pack"                             some of them, in their order
set -eu
run=
program=$1/onevision
rounds=${2:-3}
dir=$1/verb-kills
rm -rf "$dir" && mkdir -p "$dir"
captions=$dir/world/captions
quietly() { "$@" >"$dir/log" 2>&1 || { cat "$dir/log" >&2; return 1; }; }

quietly "$program" synth --what world --synth.instruct 3 --synth.captions 1500 --synth.regions 4 --synth.text 20 \
  --synth.test 40 --out "$dir/world"
quietly "$program" pretrain --what clip --config configs/model/clip-demo.json --tokenizer data/tokenizer --captions "$captions" \
  --steps 1 --train.micro_batch_samples 2 --out "$dir/clip"

quietly "$program" merge --init random --config configs/model/tiny.json --tokenizer data/tokenizer --out "$dir/model"
cat >"$dir/manifest.json" <<JSON
{"sources": [{"name": "instruct", "path": "world/instruct/conversations.json", "licence": "cc0-1.0", "category": "vqa"},
             {"name": "captions", "path": "world/captions", "licence": "cc0-1.0", "category": "domain"}]}
JSON

verb() {  # verb NAME OUT: the arguments of each
  case $1 in
    curate) $run "$program" curate --manifest "$dir/manifest.json" --bilingual.zh 0.5 --out "$2" ;;
    index) $run "$program" index --data "$2" ;;
    pack) $run "$program" pack --model "$dir/model" --sources "$captions" --capacity 1024 --out "$2" ;;
    concepts) $run "$program" concepts --data "$captions" --out "$2" ;;
    embed) $run "$program" embed --model "$dir/clip/model" --data "$captions" --out "$2" ;;
    words) $run "$program" embed --model "$dir/clip/model" --concepts "$dir/concepts.jsonl" --out "$2" ;;
    dedup) $run "$program" dedup --data "$captions" --embeddings "$dir/embed" --out "$2" ;;
    cluster) $run "$program" cluster --embeddings "$dir/embed" --k 40 --cells 5 --out "$2" ;;
    balance) $run "$program" balance --pictures "$dir/embed" --concepts "$dir/words" --k 3 --n 300 --out "$2" ;;
  esac
}
out_of() { if [ "$1" = concepts ]; then echo concepts.jsonl; else echo "$1"; fi; }

kills=0
same() {  # same A B: files and the reports beside them, or directories
  if [ -e "$1.ovindex" ]; then cmp "$1.ovindex" "$2.ovindex"
  elif [ -d "$1" ]; then diff -r "$1" "$2"; else cmp "$1" "$2" && cmp "$1.report.json" "$2.report.json"; fi
}
# An index stands beside its data and says when each file was written, so all runs have a copy of their own with one time.
data_of() { [ "$1" != index ] || cp -rp "$captions" "$2"; }
for name in ${VERBS:-concepts embed words dedup cluster balance curate index pack}; do
  out=$(out_of "$name")
  data_of "$name" "$dir/$out"
  touch "$dir/begun"
  start=$(date +%s%N)
  quietly verb "$name" "$dir/$out"
  took=$(( ($(date +%s%N) - start) / 1000000 ))
  for round in $(seq "$rounds"); do
    again=$dir/again-$out
    rm -rf "$again" "$again".*
    data_of "$name" "$again"
    for try in $(seq 20); do
      (run=exec && verb "$name" "$again") >"$dir/log" 2>&1 & child=$!
      # Anywhere in the time that the undisturbed run took, by a number drawn from the round.
      sleep "$(awk -v seed="$(printf '%s' "$name$round.$try" | cksum | cut -d' ' -f1)" -v ms="$took" \
        'BEGIN { printf "%.3f", ms * (seed % 1000) / 1e6 }')"
      if kill -9 "$child" 2>/dev/null; then kills=$((kills + 1)); fi
      { wait "$child" && break; } 2>/dev/null || true
    done
    quietly verb "$name" "$again"
    same "$dir/$out" "$again" >&2 || { echo "verb_kills: $name, round $round: another result after kills" >&2; exit 1; }
    for left in blocks partial old rejects.jsonl.partial report.json.partial; do
      [ ! -e "$again.$left" ] || { echo "verb_kills: $name left $again.$left" >&2; exit 1; }
    done
  done
  # A disk that is full, as a limit on a file's size: a quarter, half and three quarters of the largest one written.
  largest=$(find "$dir/$out" "$dir/$out".* -newer "$dir/begun" -type f -printf '%s\n' 2>/dev/null | sort -n | tail -1)
  for quarters in 1 2 3; do
    rm -rf "$again" "$again".*
    data_of "$name" "$again"
    # Under the limit is the command alone, not what collects its words.
    { (ulimit -f $((largest * quarters / 4 / 512 + 1)) && run=exec && verb "$name" "$again") 2>&1 || echo "exit $?"; } | cat >"$dir/log"
    tail -2 "$dir/log" | tr '\n' '|' | grep -q '^onevision: [^|:]*: cannot write: File too large|exit 3|$' ||
      { cat "$dir/log" >&2; echo "verb_kills: $name on a full disk: expected one line that names the file, and exit 3" >&2; exit 1; }
    for left in "$again.partial" "$again.ovindex" "$again.ovindex.partial"; do
      [ ! -e "$left" ] || { echo "verb_kills: $name on a full disk left $left" >&2; exit 1; }
    done
    [ "$name" = index ] || [ ! -e "$again" ] || { echo "verb_kills: $name on a full disk left $again" >&2; exit 1; }
    quietly verb "$name" "$again"
    same "$dir/$out" "$again" >&2 || { echo "verb_kills: $name: another result after a full disk" >&2; exit 1; }
  done
  echo "$name: $rounds rounds and 3 full disks end with the same bytes"
done
echo "$kills kills"
[ "$kills" -gt 0 ] || { echo "verb_kills: every run ended before its kill: nothing was tested" >&2; exit 1; }
rm -rf "$dir"
