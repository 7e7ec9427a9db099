#!/bin/sh
# Plants one-line faults, one at a time, in a copy of HEAD, and runs the test that must find each: a fault that passes its test shows a hole.
#
#   sh tests/tools/mutate.sh [PATTERN]     rows of mutations.txt that match PATTERN (grep -E); rows found at this revision are not run again
#   sh tests/tools/mutate.sh --check       builds nothing: every row changes one line of the tree as it is, and names a test that stands there
#   sh tests/tools/mutate.sh --self-test   a fault in a comment must be reported as not found
#
# Rows of tests/tools/mutations.txt: FILE @ SED EXPRESSION @ NAME OF A TEST CASE (doctest pattern). The expression must change exactly one
# line. Last line: "N passed, N failed".
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
rows=$root/tests/tools/mutations.txt
copy=$root/build/mutate
revision=$(git rev-parse HEAD)
done=$copy/found.$revision
mkdir -p "$copy"

# FILE, SED EXPRESSION and NAME of a row.
split() { file=${row%% @ *} test=${row##* @ } change=${row#* @ } && change=${change% @ *}; }

if [ "${1-}" = --check ]; then
  passed=0 failed=0
  while IFS= read -r row; do
    case $row in '' | '#'*) continue ;; esac
    split
    lines=$(sed -E "$change" "$file" | diff "$file" - | grep -c '^[<>]') || true
    name=${test#\*} && name=${name%\*}
    case $name in *,*) failed=$((failed + 1)) && printf '  FAILED  %s: doctest divides names at commas\n' "$row" && continue ;; esac
    if [ "$lines" = 2 ] && grep -rqF --include=*.cpp -e "$name" tests; then passed=$((passed + 1))
    else failed=$((failed + 1)) && printf '  FAILED  %s: changes %s lines; tests called so: %s\n' "$row" "$((lines / 2))" \
      "$(grep -rhF --include=*.cpp -e "$name" tests | wc -l)"; fi
  done <"$rows"
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
  exit
fi

case ${1-} in --check | --self-test) ;; -*) echo "mutate.sh: unknown option '$1'; it knows --check and --self-test" >&2; exit 2 ;; esac
if [ "${1-}" = --self-test ]; then
  rows=$copy/self-test.txt done=/dev/null
  printf 'src/base/text.h @ 1s/$/ !/ @ *did_you_mean*\n' >"$rows"
  expect=1
  shift
fi
touch "$done" 2>/dev/null || true

[ -d "$copy/tree/.git" ] || git clone -q "$root" "$copy/tree"
cd "$copy/tree"
git fetch -q origin && git checkout -q -f "$revision"
find . -name '*.rej' -delete
make -s -j"$(nproc)" build/unit-tests build/onevision >"$copy/build.log" 2>&1 || { tail -n 5 "$copy/build.log"; echo "0 passed, 1 failed"; exit 1; }

mkdir -p build/sound
cp build/unit-tests build/onevision build/lib*.so.* build/sound  # the others hold the last fault until they are linked again

cases() { build/unit-tests -ltc -tc="$1" 2>/dev/null | sed -n 's/^\[doctest\] unskipped test cases passing the current filters: //p'; }

passed=0 failed=0
fault() { failed=$((failed + 1)); printf '  FAILED  %s: %s\n' "$row" "$1"; }
plant() {
  [ "$(cases "$test")" -gt 0 ] 2>/dev/null || { fault "no test case is called '$test'"; return; }
  build/sound/unit-tests -tc="$test" >"$copy/before.log" 2>&1 || { fault "the test fails without the fault"; return; }
  sed -i -E "$change" "$file"
  lines=$(git diff --numstat -- "$file" | cut -f1)
  if [ "$lines" != 1 ]; then fault "changes ${lines:-0} lines, expected one"
  elif ! make -s -j"$(nproc)" build/unit-tests build/onevision >"$copy/build.log" 2>&1; then fault "does not compile: $(grep -m1 error "$copy/build.log")"
  elif timeout 300 build/unit-tests -tc="$test" >"$copy/run.log" 2>&1; then fault "nobody noticed"
  else passed=$((passed + 1)) && printf '  found   %s\n' "$row" && printf '%s\n' "$row" >>"$done"; fi
  git checkout -q -- "$file"
}
while IFS= read -r row; do
  case $row in '' | '#'*) continue ;; esac
  printf '%s' "$row" | grep -qE -e "${1-.}" || continue
  if grep -qxF -e "$row" "$done" 2>/dev/null; then passed=$((passed + 1)) && continue; fi
  split
  [ -f "$file" ] || { fault "no such file"; continue; }
  plant
done <"$rows"
if [ "${expect-}" = 1 ]; then
  [ "$failed" = 1 ] && [ "$passed" = 0 ] && echo "self-test: 1 passed, 0 failed" && exit 0
  echo "self-test: 0 passed, 1 failed" && exit 1
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
