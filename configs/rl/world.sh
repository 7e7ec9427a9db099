# Sourced by demo.sh, table.sh and counts.sh (draw alone). Needs $onevision and $world, where the worlds of RL go.
#
# A world and a run of one name would remove each other: they lie in one directory.
#
# They hold programs, of two and of three lines, half of the pictures each; what each is drawn with and asked stands in
# data/toy_world/mixtures.json:
#
#   warm      programs, of which some chains check each name, and all else beside them: what the start of RL is taught
#   both      every line asked, with thinking and without: the prompts of RL; and a fifth as many other pictures, whose
#             questions are repeated beside them (rl.replay of thinking.json)
#   chains    with thinking alone, in chains that check each name, and answers without it alone: what the supervised runs
#   answers   beside RL are taught
#   held-out  other programs; every line of both lengths as often as the others
draw() {  # draw NAME MIXTURE SEED PICTURES QUESTIONS
  stage "$1" "data/toy_world/templates.json data/toy_world/mixtures.json" "$onevision" synth --what world --synth.mixture "$2" --synth.seed "$3" \
    --synth.instruct "$4" --synth.captions 0 --synth.regions 0 --synth.text 0 --synth.test "$5" --out "$world/$1"
}
worlds() {  # worlds PICTURES QUESTIONS
  draw warm warm_start 701 12000 0
  draw both rl_prompts 601 $(($1 * 19 / 15)) 0
  draw held-out rl_held_out 501 0 "$2"
}
taught_worlds() {  # taught_worlds PICTURES
  draw chains rl_chains 601 "$1" 0
  draw answers rl_answers 601 "$1" 0
}
