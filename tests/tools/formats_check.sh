#!/bin/sh
# What our commands write, read by the programs it is meant for, and what those write, read here (formats_check.py): Parquet by pyarrow,
# shards by webdataset, and, where it is installed, directories by megatron-energon.
#
#   sh tests/tools/formats_check.sh [BUILD]
#
# FORMATS_PYTHON: an interpreter that has pyarrow, webdataset and, if energon is to be tried, megatron-energon 7 (which wants PyTorch); else an
# environment without energon is made under build/formats. Exit 77: none can be made.
set -eu
b=${1:-build}
dir=$b/formats
mkdir -p "$dir"
python=${FORMATS_PYTHON-}
if [ -z "$python" ]; then
  python=$dir/env/bin/python
  [ -e "$dir/env/made" ] || { python3 -m venv "$dir/env" && "$python" -m pip install -q pyarrow webdataset && touch "$dir/env/made"; } || exit 77
fi
rm -rf "$dir/work" && mkdir "$dir/work"
quietly() { "$@" >"$dir/log" 2>&1 || { cat "$dir/log" >&2; return 1; }; }
run() { quietly "$b/onevision" "$@"; }
run synth --what world --synth.instruct 3 --synth.captions 300 --synth.regions 4 --synth.text 20 --synth.test 1 --out "$dir/work/world"
captions=$dir/work/world/captions
run pretrain --what clip --config configs/model/clip-demo.json --tokenizer data/tokenizer --captions "$captions" --steps 1 \
  --train.micro_batch_samples 2 --out "$dir/work/clip"
run embed --model "$dir/work/clip/model" --data "$captions" --out "$dir/work/pictures"
run concepts --data "$captions" --out "$dir/work/concepts.jsonl"
run embed --model "$dir/work/clip/model" --concepts "$dir/work/concepts.jsonl" --out "$dir/work/words"
run dedup --data "$captions" --embeddings "$dir/work/pictures" --out "$dir/work/dedup.parquet"
run cluster --embeddings "$dir/work/pictures" --k 9 --out "$dir/work/cluster.parquet"
run balance --pictures "$dir/work/pictures" --concepts "$dir/work/words" --k 3 --n 100 --out "$dir/work/balance.parquet"
"$python" tests/tools/formats_check.py "$b/onevision" "$captions" "$dir/work"
