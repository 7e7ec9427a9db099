#!/bin/sh
# The unmodified lmms-eval against `serve`, over tasks on local data: the very replies and scores that `eval` comes to, with the
# model in its own process and through the server. The long half of `make clients-check`, run by `make nightly`; exit 77 where
# lmms-eval (4.8 GB with torch) cannot be installed.
#
#   sh tests/tools/lmms_check.sh [BUILD [MODEL]]      MODEL: the demonstration's, if it was made, else a small random one
#   LMMS_VENV=DIR                                     an environment that has it already
#
# The exit code of lmms-eval says nothing, it is 0 even when an evaluation raised: lmms_check.py looks at its files.
set -eu
build=${1:-build} model=${2:-}
at=$build/clients
venv=${LMMS_VENV:-$at/lmms-venv}
mkdir -p "$at"
if ! "$venv/bin/python" -c 'import lmms_eval, openai, datasets' 2>/dev/null; then
  # Without its other 120 dependencies, which the openai models and these tasks do not import. filelock 4 breaks it.
  python3 -m venv "$venv" && "$venv/bin/pip" install -q torch==2.15.0 accelerate==1.15.0 datasets==5.2.0 evaluate==0.4.6 \
    transformers==5.24.0 huggingface_hub==2.4.0 filelock==3.32.7 openai==3.57.0 numpy==2.4.6 pandas==3.1.1 pyarrow==26.0.1 \
    pillow==13.0.0 PyYAML==6.0.4 Jinja2==3.1.6 aiohttp==3.14.5 requests==2.34.2 pydantic==2.14.4 loguru==0.7.3 tqdm==4.70.1 \
    tenacity==9.2.1 python-dotenv==1.2.4 pytz==2026.6 packaging==26.4 dill==0.4.1 sacrebleu==2.6.0 pytablewriter==1.2.1 &&
    "$venv/bin/pip" install -q --no-deps lmms-eval==0.7.3 || exit 77
fi
if [ -z "$model" ]; then
  model=$build/demo/instruct/model
  if [ ! -d "$model" ]; then
    model=$at/model
    [ -d "$model" ] || "$build/onevision" merge --config configs/model/tiny.json --tokenizer data/tokenizer --out "$model" 2>"$at/merge.log"
  fi
fi
rm -rf "$at/lmms"
mkdir -p "$at/lmms"
"$build/onevision" synth --what world --synth.test 6 --synth.instruct 8 --synth.captions 8 --synth.regions 8 --synth.text 20 \
  --out "$at/lmms/world" >"$at/lmms/synth.log" 2>&1
python3 tests/tools/lmms_check.py tasks "$at/lmms"

"$build/onevision" serve --model "$model" --port 0 >"$at/lmms/ready.txt" 2>"$at/lmms/serve.log" &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
for _ in $(seq 600); do grep -q '^ready' "$at/lmms/ready.txt" && break; sleep 0.1; done
url=$(sed -n 's/^ready: \([^,]*\),.*/\1/p' "$at/lmms/ready.txt")
[ -n "$url" ] || { echo "lmms_check.sh: the server did not start; see $at/lmms/serve.log" >&2; exit 1; }
tasks=$(python3 tests/tools/lmms_check.py names "$at/lmms")
for kind in openai async_openai; do
  concurrent=num_concurrent=32
  [ $kind = openai ] || concurrent=num_cpus=32
  env -u PYTHONPATH HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HOME="$PWD/$at/lmms/hf" OPENAI_API_KEY=EMPTY CUDA_VISIBLE_DEVICES= \
    "$venv/bin/python" -m lmms_eval --model $kind --model_args "model=llava-ov-1.5-8b,base_url=$url,$concurrent" --tasks "$tasks" \
    --include_path "$PWD/$at/lmms/tasks" --batch_size 1 --log_samples --output_path "$at/lmms/$kind" >"$at/lmms/$kind.log" 2>&1 || true
done
"$build/onevision" eval --url "$url" --tasks "$at/lmms/tasks/tasks.json" --out "$at/lmms/url" >"$at/lmms/url.txt" 2>/dev/null
kill -TERM $server
wait $server || { echo "lmms_check.sh: the server did not stop in order" >&2; exit 1; }
trap - EXIT
"$build/onevision" eval --model "$model" --tasks "$at/lmms/tasks/tasks.json" --out "$at/lmms/own" 2>/dev/null
python3 tests/tools/lmms_check.py compare "$at/lmms"
