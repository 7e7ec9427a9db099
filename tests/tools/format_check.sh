#!/bin/sh
# Every tracked .h, .cpp and .cu file is as clang-format with the repo's .clang-format writes it. `make format-check`.
# `--self-test` makes sure that a wrong file is found, that a right one passes and that the style file is the one in force.
set -u

check() {
  command -v clang-format >/dev/null || { echo "format_check.sh: clang-format is not installed: make deps" >&2; return 3; }
  [ -f .clang-format ] || { echo "format_check.sh: no .clang-format here; run it from the root of the repo" >&2; return 2; }
  if [ -n "$(git rev-parse --show-prefix 2>&1)" ]; then  # not the root of a git work tree: an unpacked archive
    list() { find src kernels tests -name '*.h' -print0 -o -name '*.cpp' -print0 -o -name '*.cu' -print0 2>/dev/null; }
  else
    list() { git ls-files -z -- '*.h' '*.cpp' '*.cu' | xargs -0 -r sh -c 'for f; do [ ! -f "$f" ] || printf "%s\\0" "$f"; done' sh; }
  fi
  n=$(list | tr -cd '\000' | wc -c)
  [ "$n" -gt 0 ] || { echo "format_check.sh: found no .h, .cpp or .cu file to check" >&2; return 2; }
  if list | xargs -0 -n 8 -P 2 clang-format --dry-run -Werror --style=file; then
    echo "$n files are as $(clang-format --version | sed 's/.*\(clang-format version [0-9.]*\).*/\1/') writes them"
  else
    echo "not formatted; clang-format -i FILE corrects a file"
    return 1
  fi
}

self_test() {
  style=$PWD/.clang-format
  dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT && cp "$style" "$dir" && cd "$dir" && mkdir src kernels tests || exit 3
  passed=0 failed=0
  expect() {  # expect STATUS TEXT: check's exit status, and what it must print
    out=$(check 2>&1) && status=0 || status=$?
    case $out in *"$2"*) found=1 ;; *) found=0 ;; esac
    if [ $status = "$1" ] && [ $found = 1 ]; then passed=$((passed + 1)); else
      failed=$((failed + 1))
      printf 'format-check self-test: expected exit %s and "%s", got exit %s:\n%s\n' "$1" "$2" $status "$out"
    fi
  }
  expect 2 'found no .h, .cpp or .cu file'
  printf 'int* f(int* p) { return p; }\n' >src/right.h
  expect 0 '1 files are as clang-format'
  printf 'int  g( int *p ){return *p;}\n' >kernels/wrong.cu
  expect 1 'kernels/wrong.cu:1:'
  printf 'int sum_of(int the_first_of_three_numbers, int the_second_of_three_numbers, int the_last_of_them);\n' >kernels/wrong.cu
  expect 0 '2 files are as clang-format'  # 99 columns: wrong in the plain Google style, whose limit is 80
  echo "self-test: $passed passed, $failed failed"
  [ $failed = 0 ]
}

case ${1-} in
  '') check ;;
  --self-test) self_test ;;
  *) echo "format_check.sh: unknown argument '$1'; it knows only --self-test" >&2; exit 2 ;;
esac
