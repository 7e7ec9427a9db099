#!/bin/sh
# An 8B model on a small machine: a directory of random bf16 weights, 17 GB in shards, is made, planned, converted, merged and asked.
#
#   sh tests/tools/real_size.sh [PROGRAM [DIRECTORY]]
#
# Memory is what the process holds for itself (RssAnon of /proc/PID/status, sampled): mapped files are the system's to drop. A verb that
# writes goes tensor by tensor: at most 1.2 times the largest shard. Answering reads each weight where its file is mapped, once a token: at
# most a quarter of the weights are copied (q, k and v, which other programs' files do not hold one after another), and nothing swaps. The
# rate at which decoder and head are read is given as a share of what all threads read of memory (bench); a first answer, which brings the
# files into memory, is not timed. DIRECTORY, made and removed, needs 36 GB of disk: one copy goes before the next comes. MODEL: another
# description than configs/model/8b.json. SHARE: the share of the read bandwidth that a token must reach, 0.6; 0: report alone, on a machine
# that others use too.
set -eu
cd "$(dirname "$0")/../.."
program=${1:-build/onevision} dir=${2:-build/real-size} model=${MODEL:-configs/model/8b.json} share=${SHARE:-0.6}
rm -rf "$dir"
mkdir -p "$dir"
trap 'rm -rf "$dir"' EXIT
failed=0

# watch WHAT COMMAND...: runs it; seconds, and the highest RssAnon in kB in $anon and VmSwap in $swap.
watch() {
  what=$1
  shift
  begin=$(date +%s.%N)
  "$@" >"$dir/out" 2>"$dir/err" &
  pid=$! anon=0 swap=0
  while kill -0 "$pid" 2>/dev/null; do
    now=$(awk '/^RssAnon/ { a = $2 } /^VmSwap/ { s = $2 } END { print a + 0, s + 0 }' "/proc/$pid/status" 2>/dev/null || echo 0 0)
    [ "${now% *}" -le "$anon" ] || anon=${now% *}
    [ "${now#* }" -le "$swap" ] || swap=${now#* }
    sleep 0.02
  done
  wait "$pid" || { cat "$dir/err" >&2; echo "real_size: $what failed" >&2; exit 1; }
  seconds=$(echo "$(date +%s.%N) - $begin" | bc)
}
# say WHAT CONDITION TEXT
say() {
  if [ "$(echo "$2" | bc)" = 1 ]; then verdict=ok; else verdict=WRONG failed=1; fi
  printf '%-5s %-9s %s\n' "$verdict" "$1" "$3"
}
shard() { stat -c %s "$1"/*.safetensors | sort -n | tail -n 1 | awk '{ print int($1 / 1024) }'; }
writes() {  # writes WHAT DIRECTORY
  most=$(shard "$2")
  say "$1" "$anon <= 1.2 * $most" "$seconds s, RssAnon at most $anon kB, the largest shard $most kB"
}

watch make "$program" merge --config "$model" --tokenizer data/tokenizer --init.matrix uniform_fan_in --init.projection_out_std 0 \
  --export.dtype bf16 --out "$dir/model"
writes make "$dir/model"
bytes=$(cat "$dir"/model/*.safetensors | wc -c)

watch plan "$program" plan --model "$dir/model" --dtype bf16
say plan "$seconds < 1" "$seconds s"

watch convert "$program" checkpoint convert "$dir/model" --convert.dtype bf16 --convert.shard_gb 4 --out "$dir/copy"
writes convert "$dir/copy"
watch diff "$program" checkpoint diff "$dir/model" "$dir/copy"
say diff "$anon * 1024 < 10^9" "$(tail -n 1 "$dir/out"), RssAnon at most $anon kB"
rm -rf "$dir/copy"

watch merge "$program" merge --merge.tower "$dir/model" --merge.language "$dir/model" --tokenizer data/tokenizer --export.dtype bf16 --out "$dir/copy"
writes merge "$dir/copy"
rm -rf "$dir/copy"

parameters=$("$program" plan --model "$dir/model" --dtype bf16 |
  awk '/^  (decoder|head) / { n = ""; for (i = 2; $i ~ /^[0-9]+$/; ++i) n = n $i; sum += n } END { printf "%.0f", sum }')
rate=$("$program" bench --bench.repeats 1 | awk '/^memory/ { print $(NF - 1) }')
short=4 long=20
watch first "$program" generate --model "$dir/model" --dtype bf16 --prompt "What is this ?" --ids --max_new_tokens $short
ids() { tr -cd , <"$dir/out" | wc -c; }  # but one: an answer may end early
watch generate "$program" generate --model "$dir/model" --dtype bf16 --prompt "What is this ?" --ids --max_new_tokens $short
first=$seconds few=$(ids)
watch generate "$program" generate --model "$dir/model" --dtype bf16 --prompt "What is this ?" --ids --max_new_tokens $long
token=$(echo "scale=3; ($seconds - $first) / ($(ids) - $few)" | bc)
reached=$(echo "scale=3; 2 * $parameters / 1000000000 / $token / $rate" | bc)
say generate "$anon * 1024 * 4 <= $bytes + 4 * 10^9" "RssAnon at most $anon kB of $((bytes / 1024)) kB of weights, swapped $swap kB"
say swap "$swap == 0" "$swap kB"
say token "$reached >= $share" "$token s, $reached of the $rate GB/s that memory gives"
exit $failed
