#!/bin/sh
# The include graph points one way. `make arch-check` runs this; `--self-test` plants each fault in a small tree and must find it.
#
# One line a room: what it may include, and with that everything those rooms may include. `data` can reach no model,
# `kernels` no autograd, and nobody lists `cli`, because no line leads there.
rooms='
base:
tensor:   base
store:    tensor
text:     tensor
math:     text
image:    tensor
kernels:  tensor
comm:     kernels
autograd: comm
nn:       autograd
parallel: nn
model:    parallel store
generate: model text
data:     store text image
train:    model data
curate:   model data
instruct: curate serve report
rl:       train generate math
eval:     train generate math
serve:    rl eval
report:   rl eval
audit:    train
cli:      audit instruct
'
top_level='Makefile README.md LICENSE src kernels data configs tests build'  # and dot-files; build/ is ignored by git
max_lines=400   # .cpp .h .cu .mk .sh and the Makefile
max_columns=120 # .cpp .h .cu, in characters
one_cpp='nlohmann/'  # headers slow to compile: one .cpp wraps them
device_door='(device_data|device_row|device_bytes|RowPointers)[ \t]*[<(]'  # what lies on a device is for kernels alone
device_rooms='^(kernels|src/tensor|tests/(kernels|tensor|devices))/'

gpu_door='(^|[^A-Za-z0-9_])cuda[A-Z]'  # the vendor's runtime is called in one room
gpu_room='^kernels/gpu/'

export LC_ALL=C  # bytes for awk, so that continuation bytes of UTF-8 can be told apart

check() {
  {
    printf '%s\n' "$rooms" | sed 's/^/R /'
    for name in *; do printf 'T %s\n' "$name"; done
    find src kernels tests -type f \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' \) 2>/dev/null | sort | sed 's/^/C /'
    find Makefile src kernels tests -type f \( -name Makefile -o -name '*.mk' -o -name '*.sh' \) 2>/dev/null | sort | sed 's/^/O /'
  } | awk -v top_level="$top_level" -v max_lines=$max_lines -v max_columns=$max_columns -v one_cpp="$one_cpp" \
    -v device_door="$device_door" -v device_rooms="$device_rooms" \
    -v gpu_door="$gpu_door" -v gpu_room="$gpu_room" '
    function fault(place, text) { print place ": " text; ++faults }

    function room_of(file, part) {  # the room of a file under src/ or kernels/, "" elsewhere
      if (split(file, part, "/") < 2) return ""
      if (part[1] == "kernels") return "kernels"
      return part[1] == "src" && part[3] != "" ? part[2] : ""
    }

    function close_over(from, room, list, n, i) {  # may[from, x] for all that `room` leads to
      n = split(direct[room], list, " ")
      for (i = 1; i <= n; ++i) {
        if (!(list[i] in direct)) fault("table of rooms", room " names " list[i] ", which has no line")
        if (list[i] == from) fault("table of rooms", "cycle through " from)
        else if (!((from, list[i]) in may)) { may[from, list[i]] = 1; close_over(from, list[i]) }
      }
    }

    function allowed(room, r, text) {
      for (r in direct) if ((room, r) in may) text = text " " r
      return text == "" ? " nothing" : text
    }

    function read_file(file, is_code, line, wide, n, path) {
      while ((getline line < file) > 0) {
        ++n
        if (!is_code) continue
        wide = line
        gsub(/[\200-\277]/, "", wide)
        if (length(wide) > max_columns) fault(file ":" n, length(wide) " columns, at most " max_columns)
        if (file !~ device_rooms && line ~ device_door && line !~ /^[ \t]*\/\//)
          fault(file ":" n, "device memory outside of kernels: the host reads a tensor through to_vector or to(cpu())")
        if (file !~ gpu_room && line ~ gpu_door && line !~ /^[ \t]*\/\//)
          fault(file ":" n, "a call of CUDA outside of kernels/gpu, whose runtime.h is the door to it")
        if (line ~ /\/\/.*\/.*\./) read_comment(line, file, n)
        if (line !~ /^[ \t]*#[ \t]*include/) continue
        path = line
        if (!sub(/^[^"<]*["<]/, "", path) || !sub(/[">].*$/, "", path)) {
          fault(file ":" n, "an include without a plain path cannot be checked"); continue
        }
        ++includes
        if (index(path, one_cpp) == 1) wrapped[++wrappers] = file ":" n
        ++edges; edge_from[edges] = file; edge_line[edges] = n; edge_path[edges] = path; edge_quoted[edges] = line ~ /"/
      }
      close(file)
      if (n > max_lines) fault(file ":" n, n " lines, at most " max_lines)
    }

    # Files that comments speak of: under a room, by their path from src/ or from the root.
    function read_comment(line, file, n, path) {
      sub(/^.*\/\/ ?/, "", line)
      while (match(line, /[A-Za-z0-9_]+(\/[A-Za-z0-9_]+)+\.(h|cpp|cu)/)) {
        path = substr(line, RSTART, RLENGTH); line = substr(line, RSTART + RLENGTH)
        ++said; said_path[said] = path; said_at[said] = file ":" n
      }
    }
    function check_said(i, path, first) {
      path = said_path[i]; first = path; sub(/\/.*/, "", first)
      if (path in code || ("src/" path) in code || !(first in direct || first ~ /^(src|kernels|tests)$/)) return
      fault(said_at[i], "the comment names " path ", which is not there")
    }

    function check_edge(e, file, place, path, target, from, to) {
      file = edge_from[e]; place = file ":" edge_line[e]; path = edge_path[e]
      target = ("src/" path) in code ? "src/" path : path in code ? path : ""
      if (target == "") {
        if (edge_quoted[e]) fault(place, "\"" path "\" is neither under src/ nor a path from the root")
        return
      }
      edge_to[e] = target; out[file] = out[file] " " e
      from = room_of(file); to = room_of(target)
      if (from == "" || from == to) return  # tests may include everything
      if (!((from, to) in may))
        fault(place, from " may not include " (to == "" ? "tests" : to) " (" path "); it may include:" allowed(from))
    }

    function walk(file, list, n, i, to, j, text) {  # depth first; a header met again on the way down closes a cycle
      state[file] = 1; trail[++depth] = file
      n = split(out[file], list, " ")
      for (i = 1; i <= n; ++i) {
        to = edge_to[list[i]]
        if (!(to in state)) walk(to)
        else if (state[to] == 1) {
          text = ""
          for (j = depth; trail[j] != to; --j) text = " -> " trail[j] text
          fault(file ":" edge_line[list[i]], "include cycle: " to text " -> " to)
        }
      }
      state[file] = 2; --depth
    }

    BEGIN { n_top = split(top_level, name, " "); for (i = 1; i <= n_top; ++i) top[name[i]] = 1 }

    { kind = $1; file = substr($0, 3) }
    kind == "R" && split(file, pair, ":") == 2 { direct[pair[1]] = pair[2] }
    kind == "T" { if (!(file in top)) fault(file, "does not belong at the top level") }
    kind == "C" {
      code[file] = 1; order[++files] = file
      room = room_of(file)
      if (file !~ /^tests\// && !(room in direct)) fault(file ":1", room == "" ? "not in a room" : "room " room " is not in the table")
      read_file(file, 1)
    }
    kind == "O" { read_file(file, 0) }

    END {
      for (room in direct) close_over(room, room)
      for (e = 1; e <= edges; ++e) check_edge(e)
      for (i = 1; i <= said; ++i) check_said(i)
      for (i = 1; i <= files; ++i) if (!(order[i] in state)) walk(order[i])
      if (wrappers == 0) fault("src", "no .cpp includes <" one_cpp "...>; correct the table if it is no longer used")
      for (i = 1; i <= wrappers; ++i) {
        if (wrappers > 1) fault(wrapped[i], "<" one_cpp "...> belongs to one .cpp, " wrappers " files include it")
        if (wrapped[i] !~ /\.cpp:/) fault(wrapped[i], "<" one_cpp "...> in a header reaches every file that includes it")
      }
      if (faults) { print faults (faults == 1 ? " fault" : " faults"); exit 1 }
      print files " files, " includes " includes: all arrows point one way"
    }'
}

# --- self-test: the sound tree passes, and each planted fault is named with file and line

repeat() { awk -v n="$1" -v s="$2" 'BEGIN { while (n-- > 0) printf "%s", s }'; }
put() { mkdir -p "$(dirname "$1")" && printf "$2" >"$1"; }

sound_tree() {
  rm -rf ./* && mkdir src kernels tests
  put Makefile 'all:\n'
  put src/base/json.cpp '#include "base/json.h"\n#include <nlohmann/json.hpp>\n'
  put src/base/json.h '#pragma once\n#include <string>\n'
  put src/tensor/tensor.h '#include "base/json.h"\n'
  put kernels/gemm.h '#include "tensor/tensor.h"\n'
  put kernels/cpu/gemm.cpp '  #  include "kernels/gemm.h" // own contract\n'
  put src/autograd/ops/linear.cpp '#include "kernels/gemm.h"\n'
  put src/model/vit.h '#include "base/json.h"\n// #include "cli/verbs.h"\n'
  put src/data/pack.h '#include "tensor/tensor.h"\n'
  put src/cli/main.cpp '#include "model/vit.h"\n#include "data/pack.h"\n'
  put tests/data/pack_test.cpp '#include "model/vit.h"\n#include "cli/verbs.h"\n'
  put src/cli/verbs.h "$(repeat 400 'x\\n')"
  put src/base/wide.h "// $(repeat 117 'Σ')\n"
}

self_test() {
  dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT && cd "$dir" || exit 3
  passed=0 failed=0
  expect() {  # expect STATUS TEXT: check's exit status, and a line it must print
    out=$(check) && status=0 || status=$?
    case $out in *"$2"*) found=1 ;; *) found=0 ;; esac
    if [ $status = "$1" ] && [ $found = 1 ]; then passed=$((passed + 1)); else
      failed=$((failed + 1))
      printf 'arch-check self-test: expected exit %s and "%s", got exit %s:\n%s\n' "$1" "$2" $status "$out"
    fi
    sound_tree
  }
  sound_tree
  expect 0 '12 files, 13 includes: all arrows point one way'
  put src/data/pack.h '\n#include "model/vit.h"\n'
  expect 1 'src/data/pack.h:2: data may not include model'
  put src/data/pack.h '#include <model/vit.h>\n'
  expect 1 'src/data/pack.h:1: data may not include model'
  put kernels/cpu/gemm.cpp '#include "autograd/tape.h"\n' && put src/autograd/tape.h ''
  expect 1 'kernels/cpu/gemm.cpp:1: kernels may not include autograd'
  put src/model/vit.h '#include "cli/verbs.h"\n'
  expect 1 'src/model/vit.h:1: model may not include cli'
  put src/base/json.h '#\tinclude\t"tensor/dtype.h"\n' && put src/tensor/dtype.h ''
  expect 1 'src/base/json.h:1: base may not include tensor'
  put src/model/vit.h '#include "tests/support.h"\n' && put tests/support.h ''
  expect 1 'src/model/vit.h:1: model may not include tests'
  put src/model/vit.h '#include "model/a.h"\n' && put src/model/a.h '\n#include "model/vit.h"\n'
  expect 1 'include cycle: src/model/'
  put src/model/vit.h '#include "model/vit.h"\n'
  expect 1 'src/model/vit.h:1: include cycle: src/model/vit.h -> src/model/vit.h'
  put src/model/vit.h '#include "vit_block.h"\n' && put src/model/vit_block.h ''
  expect 1 'src/model/vit.h:1: "vit_block.h" is neither under src/ nor a path from the root'
  put src/model/vit.h '#include HEADER\n'
  expect 1 'src/model/vit.h:1: an include without a plain path'
  put src/model/vit.cpp '#include <nlohmann/json_fwd.hpp>\n'
  expect 1 'src/model/vit.cpp:1: <nlohmann/...> belongs to one .cpp, 2 files include it'
  put src/base/json.cpp '' && put src/base/json.h '#include <nlohmann/json.hpp>\n'
  expect 1 'src/base/json.h:1: <nlohmann/...> in a header'
  put src/base/json.cpp ''
  expect 1 'src: no .cpp includes <nlohmann/...>'
  put src/cli/verbs.h "$(repeat 401 'x\\n')"
  expect 1 'src/cli/verbs.h:401: 401 lines, at most 400'
  put tests/long.mk "$(repeat 401 'x\\n')"
  expect 1 'tests/long.mk:401: 401 lines, at most 400'
  put kernels/cuda/wide.cu "\n// $(repeat 118 'Σ')\n"
  expect 1 'kernels/cuda/wide.cu:2: 121 columns, at most 120'
  put src/model/vit.h '\n// The order of data/pack.h, not of data/packs.h or linux/magic.h.\n'
  expect 1 'src/model/vit.h:2: the comment names data/packs.h, which is not there'
  put scripts/run.h ''
  expect 1 'scripts: does not belong at the top level'
  put src/util/misc.h ''
  expect 1 'src/util/misc.h:1: room util is not in the table'
  put src/main.cpp ''
  expect 1 'src/main.cpp:1: not in a room'
  put src/train/loss.cpp '\nfloat x = loss.device_data<float>()[0];\n'
  expect 1 'src/train/loss.cpp:2: device memory outside of kernels'
  put tests/train/loss_test.cpp 'float* x = loss.device_row<float>(0);\n'
  expect 1 'tests/train/loss_test.cpp:1: device memory outside of kernels'
  put kernels/cpu/gemm.cpp 'float* x = a.device_data<float>();\n'
  expect 0 'all arrows point one way'
  put kernels/cuda/add.cu '\n  cudaMemset(y, 0, n);\n'
  expect 1 'kernels/cuda/add.cu:2: a call of CUDA outside of kernels/gpu'
  put kernels/gpu/runtime.cpp 'cudaStream_t s;\n' && put kernels/cuda/add.cu '// cudaMemset\n'
  expect 0 'all arrows point one way'
  rooms="$rooms
base: train"
  expect 1 'table of rooms: cycle through base'
  echo "self-test: $passed passed, $failed failed"
  [ $failed = 0 ]
}

case ${1-} in
  '') check ;;
  --self-test) self_test ;;
  *) echo "arch_check.sh: unknown argument '$1'; it knows only --self-test" >&2; exit 2 ;;
esac
