#!/bin/sh
# Our directories in other people's programs and theirs in ours (peers_check.py), in an environment of its own under build/peers.
#
#   sh tests/tools/peers_check.sh [BUILD]
#
# Twice: in the Transformers that the model was released for, and in the newest, which stands beside it in build/peers/newest (NEWEST: such
# a folder; empty: not). PEERS_PYTHON: an interpreter that has torch, torchvision and transformers, in place of that environment. MODEL, TEST: a
# trained directory and its held-out questions; else those of `make demo`, or of the small recipe when that has not run. ORIGINAL: a released
# directory with the original's code (*.py and the auto_map of config.json), which then computes too. Exit 77: no environment can be made.
# The environments take 2 GB, and 7 GB where PyTorch's own index cannot be reached: PyPI's torch comes with CUDA.
set -eu
b=${1:-build}
env=$b/peers/env
pinned="torch==2.8.0 torchvision==0.23.0 transformers==4.55.4 numpy==2.4.6 pillow==13.0.0 safetensors==0.8.0"
nemo=nemo-automodel==0.7.0  # its model's code alone: what else it asks for is for GPUs

python=${PEERS_PYTHON-}
if [ -z "$python" ]; then
  python=$env/bin/python
  if [ ! -e "$env/made" ]; then
    python3 -m venv "$env" &&
      "$python" -m pip install -q --no-warn-conflicts --extra-index-url https://download.pytorch.org/whl/cpu $pinned &&
      "$python" -m pip install -q --no-deps "$nemo" && touch "$env/made" || exit 77
  fi
fi
newest=${NEWEST-$b/peers/newest}
if [ -n "$newest" ] && [ ! -e "$newest/made" ] && [ -z "${NEWEST-}" ]; then
  "$python" -m pip install -q --no-warn-conflicts --target "$newest" transformers pillow==13.0.0 && touch "$newest/made" || exit 77
fi
if [ -z "${MODEL-}" ]; then
  run=$b/demo
  [ -e "$run/instruct.done" ] || { run=$b/demo-check; sh configs/demo/recipe.sh "$b" check; }
  MODEL=$run/instruct/model TEST=$run/world/test
fi
"$b/onevision" checkpoint check "$MODEL" | tail -n 2
rm -rf "$b/peers/work"
export HF_HUB_OFFLINE=1 HF_HOME="$(cd "$b/peers" && pwd)/hf"  # code files are loaded from a copy there
"$python" tests/tools/peers_check.py "$b/onevision" "$MODEL" "$TEST" "$b/peers/work" ${ORIGINAL:+"$ORIGINAL"}
[ -z "$newest" ] || PYTHONPATH=$newest${PYTHONPATH:+:$PYTHONPATH} "$python" tests/tools/peers_check.py "$b/onevision" "$MODEL" "$TEST" "$b/peers/work"
