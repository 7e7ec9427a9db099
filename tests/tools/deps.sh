#!/bin/sh
# Installs the Debian packages that the project needs and this machine lacks, and says so. Nothing is installed when all is
# there. `deps.sh` is for building and testing (`make deps`), `deps.sh bench` for the peers of `make bench`, `deps.sh fuzz` for
# `make fuzz`.
# CUDA is never installed: the GPU code is built where nvcc already is.
set -u

# package | where to see it without dpkg: a command, or a header | what for
packages='
g++                 | c++                | the compiler
make                | make               | the build
doctest-dev         | doctest/doctest.h  | tests
nlohmann-json3-dev  | nlohmann/json.hpp  | JSON
libjpeg62-turbo-dev | jpeglib.h          | JPEG
libpng-dev          | png.h              | PNG
libwebp-dev         | webp/decode.h      | WebP
libutf8proc-dev     | utf8proc.h         | Unicode tables of the tokenizer
libsnappy-dev       | snappy-c.h         | pages of Parquet files, as the next four
zlib1g-dev          | zlib.h             | gzip, and checksums of pages
libzstd-dev         | zstd.h             | zstd
liblz4-dev          | lz4.h              | lz4
libbrotli-dev       | brotli/decode.h    | brotli
libpcre2-dev        | pcre2.h            | regular expressions of the public scorers
libyaml-cpp-dev     | yaml-cpp/yaml.h    | metadata and mixtures of energon
libcpp-httplib-dev  | httplib.h          | HTTP of serve
libssl-dev          | openssl/ssl.h      | its TLS
clang               | clang++            | the second compiler of test-bits
clang-format        | clang-format       | format-check
'
bench_packages='
libopenblas-dev     | cblas.h            | the matrix product that ours is measured against
'
# The runtime of -fsanitize=fuzzer has the version of the clang that is here.
clang_version=$(clang++ -dumpversion 2>/dev/null | cut -d. -f1)
fuzz_packages="
libclang-rt-${clang_version:-14}-dev     | clang++            | libFuzzer
"

die() { printf 'deps.sh: %s\n' "$@" >&2; exit 3; }

case ${1-} in
  '') ;;
  bench) packages=$packages$bench_packages ;;
  fuzz) packages=$packages$fuzz_packages ;;
  *) printf "deps.sh: unknown argument '%s'; it knows bench and fuzz\n" "$1" >&2; exit 2 ;;
esac
names() { printf '%s' "$packages" | sed -n 's/ *|.*//p'; }

seen() {  # seen COMMAND-OR-HEADER, on systems without dpkg
  case $1 in
    *.h | *.hpp) printf '#include <stdio.h>\n#include <%s>\n' "$1" | c++ -std=c++20 -E -x c++ - >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

lacking() {
  if command -v dpkg-query >/dev/null; then
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $(names) 2>/dev/null | sed -n 's/^installed //p')
    names | while read -r p; do printf '%s\n' "$installed" | grep -qxF -e "$p" || echo "$p"; done
  else
    printf '%s' "$packages" | while IFS='|' read -r p probe _; do
      [ -z "$p" ] || seen $probe || echo $p
    done
  fi
}

missing=$(lacking | tr '\n' ' ' | sed 's/ $//')
if [ -z "$missing" ]; then
  echo "deps: all $(names | wc -l) packages are here"
  exit 0
fi

command -v apt-get >/dev/null ||
  die "missing: $missing" "there is no apt-get here; install what these Debian packages hold with this system's own tool"
if [ "$(id -u)" = 0 ]; then sudo=; elif command -v sudo >/dev/null; then sudo=sudo; else
  die "missing: $missing" "only root can install them: apt-get install $missing"
fi

echo "deps: installing $missing"
log=$(mktemp) && trap 'rm -f "$log"' EXIT || exit 3
apt() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1; }
apt update || echo "deps: apt-get update failed; trying with the package lists as they are"
apt install -y --no-install-recommends $missing || {
  grep -E '^(E|Err|W):?' "$log" | tail -n 8 >&2
  die "apt-get could not install: $missing" "is the network up? by hand: apt-get update && apt-get install $missing"
}
left=$(lacking | tr '\n' ' ')
[ -z "$left" ] || die "apt-get reported success, but these are still missing: $left"
echo "deps: installed $missing"
