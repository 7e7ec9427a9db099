#!/bin/sh
# The traps of tests/traps.md with the tests that prove them, whose names end in their ids: "... (M-01, T-04)".
#
#   sh tests/tools/traps.sh            prints them; exit 1 if a trap has neither test nor reason, or a test no trap
#   sh tests/tools/traps.sh --check    the faults alone
#   sh tests/tools/traps.sh --self-test
export LC_ALL=C

print() {  # print DIRECTORY ALL
  find "$1" -name '*.cpp' | sort | xargs cat "$1/traps.md" /dev/null | awk -v all="$2" '
    function end_of_case(  at, n, i, ids) {
      if (match(name, / \([EGMTR]-[0-9][0-9](, [EGMTR]-[0-9][0-9])*\)$/)) {
        at = RSTART
        n = split(substr(name, at + 2, RLENGTH - 3), ids, ", ")
        for (i = 1; i <= n; ++i) tests[ids[i]] = tests[ids[i]] "\n        " substr(name, 1, at - 1)
      }
      inside = 0
    }
    /^\| [EGMTR]-[0-9][0-9] \|/ {
      split($0, cell, / *\| */)
      id = cell[2]
      if (id in trap) { print "traps.md: " id " stands twice"; bad = 1 }
      order[++count] = id; trap[id] = cell[3]; reason[id] = cell[4]
      next
    }
    /^ *TEST_CASE\(/ { inside = 1; name = "" }
    inside {  # the name may be cut over several lines
      line = $0
      while (match(line, /"([^"\\]|\\.)*"/)) {
        name = name substr(line, RSTART + 1, RLENGTH - 2)
        line = substr(line, RSTART + RLENGTH)
      }
      if (line ~ /[{)]/) end_of_case()
    }
    END {
      for (i = 1; i <= count; ++i) {
        id = order[i]
        if (!(id in tests) && reason[id] == "") { print "traps.md: " id " has no test and no reason: " trap[id]; bad = 1 }
        if (all) print id "  " trap[id] (id in tests ? tests[id] : "") (reason[id] == "" ? "" : "\n        -- " reason[id])
        proven += id in tests
      }
      for (id in tests) if (!(id in trap)) { print "a test proves " id ", which traps.md does not list:" tests[id]; bad = 1 }
      for (prefix in last) delete last[prefix]
      for (i = 1; i <= count; ++i) {  # no number is left out
        prefix = substr(order[i], 1, 1)
        if (substr(order[i], 3) + 0 != last[prefix] + 1) { print "traps.md: " order[i] " does not follow its number"; bad = 1 }
        last[prefix] = substr(order[i], 3) + 0
      }
      print count " traps, " proven + 0 " with a test, " count - proven " with a reason alone"
      exit bad || count == 0
    }'
}

self_test() {
  tree=$(mktemp -d); trap 'rm -rf "$tree"' EXIT
  failed=0
  expect() {  # expect STATUS WORDS
    said=$(print "$tree" ""); status=$?
    [ "$status" = "$1" ] && printf '%s' "$said" | grep -q "$2" && return
    echo "self-test: expected $1 and '$2', got $status: $said"; failed=1
  }
  printf '| M-01 | one | |\n| M-02 | two | no need |\n' >"$tree/traps.md"
  printf 'TEST_CASE(\n    "a name that is "\n    "cut (M-01)") {\n' >"$tree/a.cpp"
  expect 0 '2 traps, 1 with a test, 1 with a reason alone'
  printf 'TEST_CASE("a name (M-02)") {\n' >"$tree/a.cpp"
  expect 1 'M-01 has no test and no reason'
  printf 'TEST_CASE("a name (M-01, T-09)") {\n' >"$tree/a.cpp"
  expect 1 'a test proves T-09'
  printf 'TEST_CASE("a name (M-01)") {\n' >"$tree/a.cpp"
  printf '| M-01 | one | |\n| M-03 | three | no need |\n' >"$tree/traps.md"
  expect 1 'M-03 does not follow'
  printf '| M-01 | one | |\n| M-01 | one | |\n' >"$tree/traps.md"
  expect 1 'stands twice'
  [ "$failed" = 0 ] && echo "self-test: passed"
  return "$failed"
}

case ${1-} in
  --self-test) self_test ;;
  --check) print tests "" ;;
  *) print tests 1 ;;
esac
