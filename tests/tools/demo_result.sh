#!/bin/sh
# What `make demo` ended with, read from build/demo/eval.json: the expected model, and what README.md promises of every category; and
# that the pictures, answers and curve which README.md shows are the ones that the program made.
#
#   sh tests/tools/demo_result.sh BUILD [EVAL.json]     exit 0 all true, 1 not
#   sh tests/tools/demo_result.sh --any-model BUILD EVAL.json   without the expected model: another seed, type or model, where a point of
#                                                               the mean and five of a category may be lost
#   sh tests/tools/demo_result.sh --self-test           refuses files that break one promise each
#
# Last line: "N passed, N failed".
set -eu

# Written by `onevision eval`: one member a line.
judge() {
  awk -v any_model="${any_model-}" -v shown="${2-}" '
    function check(true, what) { if (true) { passed++; print "  ok      ", what } else { failed++; print "  FAILED  ", what } }
    { value = $2; sub(/,$/, "", value) }
    /^  "categories"/ { inside = 1 }
    /^  }/ { inside = 0 }
    inside && /^    "/ { name = $0; gsub(/^ *"|": *{.*$/, "", name); n++ }
    inside && $1 == "\"n\":" { if (n == 1 || value + 0 < fewest) fewest = value + 0 }
    inside && $1 == "\"accuracy\":" { sum += value; if (n == 1 || value + 0 < lowest) { lowest = value + 0; weakest = name } }
    inside && $1 == "\"blind_accuracy\":" { if (value + 0 > blind) { blind = value + 0; blindest = name } }
    $1 == "\"same_as_expected\":" { same = value }
    END {
      check(n == 8, n + 0 " categories, expected 8")
      check(fewest >= 300, "at least " fewest + 0 " questions a category, expected 300")
      least = any_model ? 0.95 : 0.96; floor = any_model ? 0.85 : 0.90
      check(n && sum / n >= least, "mean accuracy " (n ? sum / n : 0) ", expected " least)
      check(n && lowest >= floor, "lowest accuracy " lowest + 0 " (" weakest "), expected " floor)
      check(n && blind <= 0.30, "highest blind baseline " blind + 0 " (" blindest "), expected at most 0.30")
      if (!any_model) check(same == "true", "the model of configs/demo/expected.json: " (same == "true" ? "the same bits" : "other bits"))
      if (shown != "") check(shown == "the same", "pictures, answers and loss curve of README.md: " shown)
      print passed + 0 " passed, " failed + 0 " failed"
      exit failed > 0
    }' "$1"
}

any_model=
if [ "${1-}" = --any-model ]; then any_model=1; shift; fi
# strip DIRECTORY: whether the program's strip is what data/demo and README.md hold.
strip() {
  for file in data/demo/*; do cmp -s "$file" "$1/${file##*/}" || { echo "$1/${file##*/} is another"; return; }; done
  while IFS= read -r line; do grep -qxF -e "$line" README.md || { echo "README.md lacks the line '$line'"; return; }; done <"$1/answers.md"
  echo "the same"
}
if [ "${1-}" != --self-test ]; then
  eval=${2:-${1:-build}/demo/eval.json}
  judge "$eval" "$([ -n "$any_model" ] || strip "${eval%/*}/strip")"
  exit
fi

made=$(mktemp)
trap 'rm -f "$made"' EXIT
example() {  # example QUESTIONS ACCURACY BLIND SAME
  printf '{\n  "categories": {\n' >"$made"
  for i in 1 2 3 4 5 6 7 8; do
    printf '    "C & %s": {\n      "n": 300,\n      "accuracy": 0.97,\n      "blind_accuracy": 0.1,\n      "blind_grey": 0.5\n    },\n' $i
  done | sed "2s/300/$1/; 3s/0.97/$2/; 4s/0.1/$3/" >>"$made"
  printf '  },\n  "mean": 0.9,\n  "same_as_expected": %s\n}\n' "$4" >>"$made"
}
refuses() { ! judge "$made" >/dev/null || { echo "demo_result.sh: accepted $1" >&2; exit 1; }; }
example 300 0.97 0.1 true && judge "$made" >/dev/null || { echo "demo_result.sh: refused a good result" >&2; exit 1; }
example 299 0.97 0.1 true && refuses "299 questions"
example 300 0.89 0.1 true && refuses "an accuracy of 0.89"
example 300 0.89 0.1 false && (any_model=1 && judge "$made" >/dev/null) || { echo "demo_result.sh: refused another seed" >&2; exit 1; }
example 300 0.84 0.1 false && (any_model=1 && refuses "another seed with an accuracy of 0.84")
example 300 0.97 0.31 true && refuses "a blind baseline of 0.31"
example 300 0.97 0.1 false && refuses "another model"
sed -i 's/"accuracy": 0.97/"accuracy": 0.95/' "$made" && sed -i 's/same_as_expected": false/same_as_expected": true/' "$made" && refuses "a mean of 0.95"
: >"$made" && refuses "an empty file"
