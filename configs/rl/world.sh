# Sourced by demo.sh and table.sh. Needs $onevision and $world, where the worlds of RL go.
#
# They hold programs, of two and of three lines, half of the pictures each, with data/toy_world's words and glyphs:
#
#   warm      programs, of which some chains check each name, and all else beside them: what the start of RL is taught
#   both      every line asked, with thinking and without: the prompts of RL; and a fifth as many other pictures, whose
#             questions are repeated beside them (rl.replay of thinking.json)
#   chains    with thinking alone, in chains that check each name, and answers without it alone: what the supervised runs
#             beside RL are taught
#   held-out  other programs; every line of both lengths as often as the others
#
# catalog DIRECTORY EDIT...: a copy of data/toy_world with edits (of sed) to its questions
catalog() {
  directory=$1
  shift
  rm -rf "$directory" && mkdir -p "$directory" && cp data/toy_world/* "$directory"
  sed -i -e '/"default": {"shapes": 600/{N;s/{.*}/{"values": 1, "three_lines": 1}/}' -e 's/"one_in": 6/"one_in": 1000000/' "$directory/mixtures.json"
  sed -i -e '/"id": "think"/s/"ask": 50/"ask": 100/' "$@" "$directory/templates.json"
}
never_asked() { printf '/"id": "%s"/s/"id": "[a-z_]*",/& "ask": 0,/' "$1"; }

worlds() {  # worlds PICTURES QUESTIONS
  thinking='\(caption\|think[a-z_]*\)'
  # Of three lines the middle one is what RL gives up first, and the last what it gains most in: they are not asked alike.
  catalog "$world/catalog/both" -e '/"id": "think_first"/s/"id": "[a-z_]*",/& "ask": 88,/' \
    -e '/"id": "think_last"/s/"id": "[a-z_]*",/& "ask": 74,/'
  sed -i 's/{"values": 1, "three_lines": 1}/{"values": 40, "three_lines": 40, "shapes": 7, "text": 5, "table": 1, "bars": 1, "sign": 1, "chess": 1, "thermometer": 1, "beaker": 1, "food_chain": 1, "formula": 1}/' \
    "$world/catalog/both/mixtures.json"
  catalog "$world/catalog/chains" -e "$(never_asked caption)"
  sed -i 's/{"values": 1, "three_lines": 1}/{"checked_lines": 1}/' "$world/catalog/chains/mixtures.json"
  catalog "$world/catalog/answers" -e 's/"ask": 100,//' -e "$(never_asked "$thinking")"
  catalog "$world/catalog/held-out" -e '/"id": "think"/s/"ask"/"share": 2, "ask"/' \
    -e '/"id": "\(think\|three\)_last"/s/"share": 4/"share": 1/' \
    -e '/"id": "variable_\(value\|sum\)"/{s/"Code & Math"/"Reasoning"/;s/"share": [0-9]*/"share": 1/}'
  catalog "$world/catalog/warm"
  stage warm "data/toy_world/templates.json data/toy_world/mixtures.json configs/rl/world.sh" "$onevision" synth --what world \
    --synth.data_dir "$world/catalog/warm" --synth.mixture warm_start --synth.seed 701 --synth.instruct 12000 --synth.captions 0 --synth.regions 0 --synth.text 0 --synth.test 0 --out "$world/warm"
  for part in both chains answers; do
    pictures=$1
    [ $part != both ] || pictures=$(($1 * 19 / 15))
    stage $part "data/toy_world/templates.json configs/rl/world.sh" "$onevision" synth --what world --synth.data_dir "$world/catalog/$part" \
      --synth.seed 601 --synth.instruct "$pictures" --synth.captions 0 --synth.regions 0 --synth.text 0 --synth.test 0 --out "$world/$part"
  done
  stage held-out "data/toy_world/templates.json configs/rl/world.sh" "$onevision" synth --what world --synth.data_dir "$world/catalog/held-out" \
    --synth.seed 501 --synth.instruct 0 --synth.captions 0 --synth.regions 0 --synth.text 0 --synth.test "$2" --out "$world/held-out"
}
