#!/bin/sh
# The same short training run (tests/tools/bits.cpp) and the same mathematical functions from builds that could differ:
# compiler, optimisation, instruction set. All must print the same lines; the first that differs is named. A build that
# is wrong on purpose must be noticed.
#
#   sh tests/tools/bits.sh MAKE        g++ -O3 AVX2 against clang++ -O3 AVX2 and g++ -O1 without; exit 0 all alike, 1 not
#   sh tests/tools/bits.sh MAKE all    also with one of these changed at a time
#
# Last line: "N passed, N failed".
make=${1:?usage: bits.sh MAKE [all]}
out=build/bits-output
jobs=$(nproc 2>/dev/null || echo 1)
passed=0 failed=0
mkdir -p "$out"

pass() { passed=$((passed + 1)); echo "  same     $1"; }
fail() { failed=$((failed + 1)); echo "  FAILED   $1"; }

# The first line in which two outputs differ.
first_difference() {
  awk 'NR == FNR { a[FNR] = $0; n = FNR; next }
       a[FNR] != $0 { print "line " FNR ": " $0 ", expected: " a[FNR]; found = 1; exit }
       { m = FNR }
       END { if (!found && m != n) print "line " m + 1 " of " n " is missing" }' "$1" "$2"
}

# build NAME MAKE-VARIABLES...: builds and runs both programs in build directory $dir. The first is the reference.
reference=
build() {
  name=$1
  shift
  # Both at once, so that no core waits for the other's last file; what does not build is said below.
  "$make" -s -k -j"$jobs" "$@" B="$dir" "$dir/bits" "$dir/math-exhaustive" >"$out/$(basename "$dir").build" 2>&1 || true
  for program in bits math-exhaustive; do
    what="$name: $program"
    if ! "$make" -s -j"$jobs" "$@" B="$dir" "$dir/$program"; then
      fail "$what does not build"
      continue
    fi
    arguments=
    [ $program = math-exhaustive ] && arguments=--quick
    file="$out/$(basename "$dir").$program"
    if ! "$dir/$program" $arguments > "$file"; then
      fail "$what ends with an error: $(tail -n 1 "$file")"
    elif [ -z "$reference" ]; then
      pass "$what (the reference)"
    elif difference=$(first_difference "$out/$reference.$program" "$file") && [ -z "$difference" ]; then
      pass "$what"
    else
      fail "$what: $difference"
    fi
  done
  [ -n "$reference" ] || reference=$(basename "$dir")
}

dir=build build "g++ -O3 AVX2" CXX=g++ OPT=-O3
dir=build/clang build "clang++ -O3 AVX2" CXX=clang++ OPT=-O3
dir=build/portable build "g++ -O1 without AVX2" CXX=g++ OPT=-O1 ARCH=
if [ "${2-}" = all ]; then
  dir=build/gcc-O1 build "g++ -O1 AVX2" CXX=g++ OPT=-O1
  dir=build/portable-O2 build "g++ -O2 without AVX2" CXX=g++ OPT=-O2 ARCH=
fi

# The twins: the reference with one file compiled so that products and sums may be contracted or reordered.
for flags in -ffp-contract=fast -ffast-math; do
  what="twin: one kernel with $flags is noticed"
  rm -rf build/twin
  mkdir -p build/twin
  cp -a build/obj build/twin/obj
  if g++ -std=c++20 -O3 -mavx2 -mfma -ffp-contract=off -Isrc -I. "$flags" -c kernels/cpu/rmsnorm.cpp \
        -o build/twin/obj/kernels/cpu/rmsnorm.o &&
     "$make" -s CXX=g++ B=build/twin build/twin/bits && build/twin/bits > "$out/twin.bits"; then
    difference=$(first_difference "$out/$reference.bits" "$out/twin.bits")
    if [ -n "$difference" ]; then pass "$what (${difference%%  *})"; else fail "$what: no line differs"; fi
  else
    fail "$what: does not build or run"
  fi
done
rm -rf build/twin

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
