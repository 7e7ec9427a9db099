# Sourced by demo.sh, table.sh and counts.sh: what they were given is looked at before hours are spent. Needs $script, their
# name, and $build.
refuse() { echo "$script: $*" >&2; exit 2; }
at_most() {  # at_most N ARGUMENT...: no option, and no more arguments than the script has
  limit=$1
  shift
  [ $# -le "$limit" ] || refuse "$# arguments, at most $limit: see the head of configs/rl/$script"
  for word in "$@"; do
    case $word in -*) refuse "'$word' is no option: see the head of configs/rl/$script" ;; esac
  done
}
program() {  # the program is there
  [ -x "$build/onevision" ] || refuse "$build/onevision is not there: run make"
}
start() {  # start NAME: BUILD/NAME is what make demo leaves, with its model and its questions
  [ -f "$build/$1/instruct/model/DONE" ] && [ -d "$build/$1/world/test" ] && return
  seed=${1#demo-seed}
  case $1 in
    demo) how="make demo" ;;
    *[!a-z0-9-]* | *-seed*-*) how= ;;
    demo-seed*) how="sh configs/demo/recipe.sh $build seed=$seed" ;;
    *) how= ;;
  esac
  [ -n "$how" ] || how="configs/demo/recipe.sh; its head says which words make it"
  refuse "$build/$1/instruct/model or $build/$1/world/test is not there: run $how"
}
some() {  # some WHAT WORDS: at least one
  [ -n "$(printf %s "$2" | tr -d ' ')" ] || refuse "no $1: see the head of configs/rl/$script"
}
numbers() {  # numbers WHAT WORDS: whole numbers
  some "$1" "$2"
  for word in $2; do
    case $word in *[!0-9]*) refuse "$1 '$word': expected a whole number" ;; esac
  done
}
among() {  # among WORDS KNOWN: each of the words is known
  some arm "$1"
  for word in $1; do
    case " $2 " in *" $word "*) ;; *) refuse "'$word': the arms are $2" ;; esac
  done
}
