#!/bin/sh
# The whole recipe of LLaVA-OneVision-1.5, once, small: every stage is a plain onevision command with a file in
# configs/demo/, printed before it runs. What is done is not run again, what was cut goes on (stage.sh).
#
#   recipe.sh [BUILD [SIZE]] [NAME=VALUE]...      SIZE full, or check: the same stages in under a minute, for the tests
#     seed=2         of world, initial values, packing and order; the published ones without it
#     model=demo-moe of configs/model; demo without it
#     dtype=bf16     of training and answers; f32 without it
#     moments=bf16   of the optimiser, or bf16_stochastic; f32 without it
#     device=cuda    of training and answers, or auto; cpu without it
# Each stands in the name of the directory that the run lies in: BUILD/demo-seed2-bf16.
set -eu
build=build size=full seed= model=demo dtype= moments= device=
place=build
for word in "$@"; do
  value=${word#*=}
  case $word in
  seed=* | model=* | dtype=* | moments=* | device=*) eval "${word%%=*}=\$value" ;;
  *=*) echo "recipe.sh: '$word': the names are seed, model, dtype, moments and device" >&2; exit 2 ;;
  full | check) size=$word ;;
  *)
    [ "$place" = build ] || { echo "recipe.sh: '$word' is no size; sizes are full and check" >&2; exit 2; }
    build=$word place=size ;;
  esac
done
onevision=$build/onevision
out=$build/demo
[ "$size" = full ] || out=$build/demo-$size
[ -z "$seed" ] || out=$out-seed$seed
[ "$model" = demo ] || out=$out-$model
[ -z "$dtype" ] || out=$out-$dtype
[ -z "$moments" ] || out=$out-moments-$moments
[ -z "$device" ] || out=$out-$device
type=${dtype:+--dtype $dtype} moments=${moments:+--optimizer.moments $moments} device=${device:+--device $device}
model=configs/model/$model.json
config=configs/demo
. configs/demo/stage.sh
mkdir -p "$out"

if [ "$size" = full ]; then
  world="--synth.instruct 32000 --synth.captions 9000 --synth.regions 12000 --synth.text 12000 --synth.test 300"
  short= expected="--expected $config/expected.json"
else
  world="--synth.instruct 60 --synth.captions 40 --synth.regions 60 --synth.text 60 --synth.test 4"
  expected= short="--steps 6 --train.save_every 3"
fi
[ -z "$seed$type$moments$device" ] && [ "$model" = configs/model/demo.json ] || expected=
short="$short $type $moments $device"
w=$out/world

stage world "" "$onevision" synth --what world $world ${seed:+--synth.seed $seed} --out "$w"
stage tokenizer "$out/world.done $config/tokenizer.json" \
  "$onevision" tokenizer --config $config/tokenizer.json --text "$w/text/corpus.jsonl" "$w/instruct/conversations.json" --out "$out/tokenizer"
stage tower "$out/world.done $config/pretrain-vision.json $model" \
  "$onevision" pretrain --config $model --config $config/pretrain-vision.json --regions "$w/regions/regions.jsonl" $short ${seed:+--pretrain.seed $seed} --out "$out/tower"
stage language "$out/tokenizer.done $config/pretrain-text.json $model" \
  "$onevision" pretrain --config $model --config $config/pretrain-text.json --tokenizer "$out/tokenizer" --text "$w/text/corpus.jsonl" $short ${seed:+--pretrain.seed $seed} --out "$out/language"
stage stage0 "$out/tower.done $out/language.done $config/merge.json" \
  "$onevision" merge --config $config/merge.json --tower "$out/tower/tower" --language "$out/language/model" --tokenizer "$out/tokenizer" ${seed:+--init.seed $seed} $device --out "$out/stage0"

stage captions "$out/stage0.done $config/pack.json" \
  "$onevision" pack --config $config/pack.json --model "$out/stage0" --sources "$w/captions" ${seed:+--pack.seed $seed} --out "$out/captions.packs"
stage instruct-packs "$out/stage0.done $config/pack.json" \
  "$onevision" pack --config $config/pack.json --model "$out/stage0" --sources "$w/instruct/conversations.json" ${seed:+--pack.seed $seed} --out "$out/instruct-packs.packs"
stage align "$out/captions.done $config/align.json" \
  "$onevision" train --config $config/align.json --model "$out/stage0" --packs "$out/captions.packs" $short ${seed:+--data.seed $seed} --out "$out/align"
stage midtrain "$out/align.done $config/midtrain.json" \
  "$onevision" train --config $config/midtrain.json --model "$out/align/model" --packs "$out/captions.packs" $short ${seed:+--data.seed $seed} --out "$out/midtrain"
stage instruct "$out/midtrain.done $out/instruct-packs.done $config/instruct.json" \
  "$onevision" train --config $config/instruct.json --model "$out/midtrain/model" --packs "$out/instruct-packs.packs" $short ${seed:+--data.seed $seed} --out "$out/instruct"

stage eval "$out/instruct.done $config/eval.json${expected:+ $config/expected.json}" \
  "$onevision" eval --model "$out/instruct/model" --data "$w/test" --tasks $config/eval.json $expected $type $device --out "$out"
stage reasoning "$out/instruct.done $config/reasoning.json" \
  "$onevision" eval --model "$out/instruct/model" --data "$w/reasoning" --tasks $config/reasoning.json $type $device --out "$out/reasoning"
stage report "$out/eval.done" \
  "$onevision" report --title "onevision: the recipe, small" --stages vision="$out/tower" text="$out/language" align="$out/align" midtrain="$out/midtrain" instruct="$out/instruct" \
  --eval "$out" --packs captions="$out/captions.packs" instruct="$out/instruct-packs.packs" --strip "$out/strip" --out "$out/report.html"

printf '\n$ %s\n' "$onevision inspect eval $out/eval.json"
"$onevision" inspect eval "$out/eval.json" || true
cat <<TEXT

$out/report.html shows the curves, the scores, sixteen answered pictures and where the time went. The model stands in
$out/instruct/model, a Hugging Face directory. What to try next:
  $onevision generate --model $out/instruct/model --image $w/test/images/000/000000.jpg --prompt "describe the image in detail"
  sh configs/demo/recipe.sh $build seed=2     # the same with another seed, into $build/demo-seed2
  make lessons                                # ten pictures learned by heart in half a minute: the shortest path through the machinery
  README.md, "Your own data"                  # the same commands on your files
TEXT
