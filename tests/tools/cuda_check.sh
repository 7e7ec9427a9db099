#!/bin/sh
# What nvcc made of kernels/cuda, without a GPU: DIR holds for each file NAME.log, which ptxas -v wrote, and NAME.ARCH.cubin.
#
#   sh tests/tools/cuda_check.sh DIR "80 90a 100"      a table of kernels; exit 1 on a fault
#   sh tests/tools/cuda_check.sh --self-test           plants each fault
#
# Faults: a warning; a line that begins with (C75, by which ptxas says in passing that it ignored a request; a register spill or
# a stack frame, since either means that local arrays went to memory; more static shared memory than 48 KB (ptxas takes it in
# silence for sm_90a); a kernel of which not one block fits a multiprocessor; a kernel without a line in cuda_kernels.txt, or a
# line without its kernel. With nvdisasm (on the PATH or under build/nvdisasm: python3 -m pip install --target build/nvdisasm
# nvidia-cuda-nvdisasm): loads from or stores to local memory, no tensor-core instruction in a kernel that claims them, no 16-byte
# access in one that claims packets. DIR/probe holds the same of tests/kernels/ptx_probe.cu, which uses every instruction of ov::ptx:
# no table, the same faults, and one where nvdisasm finds no arrival of copies at a barrier in it.
#
# The columns: registers, warps of 64 on a multiprocessor, shared memory of a block, static and dynamic, and floors: bytes
# over 3.35 and 4.8 TB/s and FLOPs over 989e12 (bf16 on tensor cores) or 67e12, whichever is longer, on H100 and H200 (data
# sheets). "allows" is a model, no measurement: the share of H200's floor that is left by bytes in flight (700 ns of latency
# need rate * 700 ns / 132 of them on a multiprocessor) and by instructions, every one of the kernel's text once: 4 a cycle at
# 1.755 GHz, a packet each where a thread has one packet; a tensor-core instruction keeps its unit busy for 4 cycles, and
# mma.sync reaches 62 %.
export LC_ALL=C
lines=$(dirname "$0")/cuda_kernels.txt

# NAME.log on standard input: architecture, registers, spilled, stack and shared bytes, file, mangled kernel.
kernels_of() {
  awk -v file="$1" '
    /[Ww]arning|\(C75/         { print file ": " $0 > "/dev/stderr"; bad = 1 }
    /Compiling entry function/ { split($0, q, "\047"); kernel = q[2]; arch = q[4] }
    /bytes stack frame/        { stack = $1; spill = $5 + $9 }
    /Used [0-9]+ registers/ {
      shared = 0
      for (i = 1; i < NF; ++i) { if ($i == "Used") registers = $(i + 1); if ($(i + 2) ~ /^smem/) shared = $i }
      if (spill + stack > 0) { print file ": " kernel " for " arch ": local arrays in memory" > "/dev/stderr"; bad = 1 }
      if (shared > 49152) { print file ": " kernel " for " arch ": " shared " bytes of shared memory" > "/dev/stderr"; bad = 1 }
      print arch, registers, spill, stack, shared, file, kernel
    }
    END { exit bad }'
}

# nvdisasm -c on standard input, for architecture $1: it, mangled kernel, instructions, of tensor cores, of 16 bytes, of local memory.
instructions_of() {
  awk -v arch="$1" '
    function say() { if (kernel != "") print arch, kernel, n + 0, mma + 0, wide + 0, local + 0; n = mma = wide = local = 0 }
    /^\.text\./ { say(); kernel = substr($1, 7); sub(/:$/, "", kernel); next }
    /^\.[a-z]/  { say(); kernel = "" }
    kernel != "" && /^ +\/\*[0-9a-f]+\*\// {
      ++n
      if (/[HG]MMA/) ++mma
      if (/(LDG|STG|LDGSTS)[A-Z0-9.]*\.128/) ++wide
      if (/ (LDL|STL)[ .]/) ++local
    }
    END { say() }'
}

# The table, from DIR/kernels (as above, and the demangled name), DIR/instructions and cuda_kernels.txt.
report() {
  awk -v archs="$2" '
    function fault(text) { print "cuda-check: " text > "/dev/stderr"; bad = 1 }
    function up_to(n, unit) { return int((n + unit - 1) / unit) * unit }
    function least(a, b) { return a < b ? a : b }
    function product(symbols, p, i) { p = 1; for (i = 1; i <= length(symbols); ++i) p *= size[substr(symbols, i, 1)]; return p }
    function warps_resident(arch, registers, shared, threads,  warps, blocks) {
      warps = up_to(threads, 32) / 32
      blocks = least(32, int(64 / warps))
      blocks = least(blocks, int(int(65536 / up_to(registers * 32, 256) / 4) * 4 / warps))
      return least(blocks, int((arch == "80" ? 164 : 228) * 1024 / up_to(shared + 1024, 128))) * warps
    }
    BEGIN {  # tokens, width, inner width, vocabulary, heads of queries and keys, width of a head, rows of the loss, parameters
      size["T"] = 8192; size["C"] = 4096; size["F"] = 12288; size["V"] = 151936; size["H"] = 32; size["K"] = 8; size["D"] = 128
      size["L"] = 1024; size["P"] = 8.5e9; size["1"] = 1
    }
    FNR == 1 { ++part }
    part == 1 {  # cuda_kernels.txt
      if ($0 ~ /^#/ || NF == 0) next
      key = $1 " " $2; order[++count] = key; threads[key] = $3; dynamic[key] = $4; flight[key] = $5
      elements[key] = product($6); bytes[key] = $7; flops[key] = $8; claim[key] = $9
      next
    }
    part == 2 {
      name = ""
      for (i = 8; i <= NF; ++i) name = name $i
      gsub(/ov::kernels::cuda::|\(anonymousnamespace\)::|\(ov::kernels::[A-Za-z]*\)|ov::kernels::|ov::/, "", name)
      sub(/\(.*/, "", name); sub(/^void/, "", name)
      arch = substr($1, 4); sub(/a$/, "", arch)
      key = $6 " " name; base = name
      if (base ~ /^(each_packet<[0-9]+,|sum_blocks<)/) sub(/^[a-z_]+<([0-9]+,)?/, "", base)
      sub(/[<>].*/, "", base)
      base_of[key] = $6 " " base; all_bases[$6 " " base] = 1
      registers[arch, key] = $2; shared[arch, key] = $5; mangled[arch, key] = $7; name_of[arch, $7] = key; seen[key] = 1
      next
    }
    { n[$1, $2] = $3; mma[$1, $2] = $4; wide[$1, $2] = $5; if ($6) fault($2 " for sm_" $1 ": local memory is used") }
    END {
      arches = split(archs, gpu, " ")
      for (a = 1; a <= arches; ++a) sub(/a$/, "", gpu[a])
      main = gpu[1]
      for (a = 1; a <= arches; ++a) if (gpu[a] == "90") main = "90"
      printf "%-62s", "file and kernel, with the registers and resident warps of"
      for (a = 1; a <= arches; ++a) printf "%9s", "sm_" gpu[a]
      printf "%10s %9s %9s %9s %9s %7s\n", "KB shared", "MB", "GFLOP", "us H100", "us H200", "allows"
      for (c = 1; c <= count; ++c) {
        key = order[c]
        if (!(key in seen)) { fault("cuda_kernels.txt names " key ", which was not compiled"); continue }
        known[base_of[key]] = 1
        printf "%-62s", key
        for (a = 1; a <= arches; ++a) {
          warps = warps_resident(gpu[a], registers[gpu[a], key], shared[gpu[a], key] + dynamic[key], threads[key])
          if (warps == 0) fault(key ": not one block fits a multiprocessor of sm_" gpu[a])
          if (gpu[a] == main) resident = warps
          printf "%9s", registers[gpu[a], key] "/" warps
          id = gpu[a] SUBSEP mangled[gpu[a], key]
          if (id in n && claim[key] ~ /mma/ && !mma[id]) fault(key " for sm_" gpu[a] ": no tensor-core instruction")
          if (id in n && claim[key] ~ /packets/ && !wide[id]) fault(key " for sm_" gpu[a] ": no access of 16 bytes")
        }
        printf "%10.1f ", (shared[main, key] + dynamic[key]) / 1024
        if (shared[main, key] + dynamic[key] > 99 * 1024) large = large (large == "" ? "" : ", ") key
        if (bytes[key] + flops[key] == 0) { print ""; continue }
        total = elements[key] * bytes[key]; work = elements[key] * flops[key]
        rate = claim[key] ~ /mma/ ? 989e12 : 67e12
        h100 = total / 3.35e12; h200 = total / 4.8e12
        if (work / rate > h100) h100 = work / rate
        if (work / rate > h200) h200 = work / rate
        share = least(1, resident * 32 * 16 * flight[key] / (4.8e12 * 700e-9 / 132))
        id = main SUBSEP mangled[main, key]
        if (claim[key] ~ /mma/) share = id in n ? least(0.62, 4 * mma[id] / n[id]) : 0.62
        else if (id in n && key ~ / each_packet</) {
          width = key; sub(/.*each_packet</, "", width)
          share = least(share, h200 / (elements[key] / (width + 0) / 32 * n[id] / (132 * 4 * 1.755e9)))
        }
        printf "%9.0f %9.1f %9.1f %9.1f %6.0f%%\n", total / 1e6, work / 1e9, h100 * 1e6, h200 * 1e6, share * 100
      }
      for (b in all_bases) if (!(b in known)) fault(b " has no line in cuda_kernels.txt")
      print "sm_86, sm_89 have 99 KB of shared memory a block: not built for; these need more: " (large == "" ? "none" : large)
      exit bad
    }' "$lines" "$1/kernels" "$1/instructions"
}

# DIR/probe, for architectures ARCHS, with the disassembler where there is one.
probe() {
  found=$(kernels_of ptx_probe.cu <"$1/probe/ptx_probe.log") || return 1
  for arch in $2; do
    [ "$(echo "$found" | grep -c "^sm_$arch ")" = 3 ] || { echo "cuda-check: ptx_probe.cu: its kernels for sm_$arch are missing" >&2; return 1; }
    [ -z "$3" ] || "$3" -c "$1/probe/ptx_probe.$arch.cubin" | grep -q 'ARRIVES\.LDGSTSBAR' ||
      { echo "cuda-check: ptx_probe.cu for sm_$arch: no copy arrives at a barrier" >&2; return 1; }
  done
  echo "ptx_probe.cu: every instruction of ov::ptx assembles for sm_$(echo "$2" | sed 's/ /, sm_/g')"
}

disassembler() {
  command -v nvdisasm || find build/nvdisasm -name nvdisasm -type f 2>/dev/null | head -1
}

check() {  # check DIR ARCHS
  bad=0
  for log in "$1"/*.log; do
    name=$(basename "$log" .log)
    kernels_of "$name.cu" <"$log" >"$log.kernels" || bad=1
    ! grep -qE '__global__|launch\(|for_each_packet<' "kernels/cuda/$name.cu" || [ -s "$log.kernels" ] ||
      { echo "cuda-check: $name.cu: its kernels are missing" >&2; bad=1; }
  done
  cat "$1"/*.log.kernels >"$1/names" && awk '{ print $7 }' "$1/names" | c++filt | paste -d' ' "$1/names" - >"$1/kernels"
  with=$(disassembler)
  [ -n "$with" ] || echo "cuda-check: no nvdisasm: instructions are not looked at" >&2
  for arch in $2; do
    for cubin in "$1"/*."$arch".cubin; do
      [ -n "$with" ] || continue
      [ "$cubin.counts" -nt "$cubin" ] || "$with" -c "$cubin" | instructions_of "${arch%a}" >"$cubin.counts"
      cat "$cubin.counts"
    done
  done >"$1/instructions"
  report "$1" "$2" || bad=1
  probe "$1" "$2" "$with" || bad=1
  [ "$bad" = 0 ] && echo "cuda-check: $(awk 'END { print NR }' "$1/kernels") kernels for sm_$(echo "$2" | sed 's/ /, sm_/g'): no fault"
  return "$bad"
}

self_test() {
  tree=$(mktemp -d); trap 'rm -rf "$tree"' EXIT
  lines=$tree/lines
  failed=0
  ptxas() {  # ptxas STACK SPILL SHARED EXTRA: what it says of one kernel
    cat <<LOG
ptxas info    : Compiling entry function '_ZN2ov1fEv' for 'sm_90a'
ptxas info    : Function properties for _ZN2ov1fEv
    $1 bytes stack frame, $2 bytes spill stores, $2 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, $3 bytes smem
$4
LOG
  }
  expect() {  # expect STATUS WORDS COMMAND...
    status=$1 words=$2 && shift 2
    said=$("$@" 2>&1); got=$?
    [ "$got" = "$status" ] && printf '%s' "$said" | grep -qF -- "$words" && return
    echo "self-test: expected $status and '$words', got $got: $said"; failed=1
  }
  of() { ptxas "$@" | kernels_of f.cu; }
  expect 0 "sm_90a 40 0 0 1024 f.cu _ZN2ov1fEv" of 0 0 1024 ""
  expect 1 "local arrays in memory" of 8 0 0 ""
  expect 1 "local arrays in memory" of 0 4 0 ""
  expect 1 "50000 bytes of shared memory" of 0 0 50000 ""
  expect 1 "(C7508)" of 0 0 0 "(C7508) Potential Performance Loss: 'setmaxnreg' ignored"
  expect 1 "warning" of 0 0 0 "ptxas warning : something"

  assembled() {
    printf '.text._ZN2ov1fEv:\n        /*0000*/                   %s\n' "$1" | instructions_of 90 >"$tree/instructions"
  }
  table() { report "$tree" 90a; }
  echo "sm_90a 40 0 0 1024 f.cu _ZN2ov1fEv ov::f()" >"$tree/kernels"
  echo "f.cu f 256 0 4 TC 4 1 packets" >"$lines"
  assembled "LDG.E.128 R4, [R2.64] ;"; expect 0 "40/48" table
  assembled "LDG.E R4, [R2.64] ;"; expect 1 "no access of 16 bytes" table
  assembled "LDL R4, [R1] ;"; expect 1 "local memory is used" table
  echo "f.cu f 256 0 4 TC 4 1 mma" >"$lines"; expect 1 "no tensor-core instruction" table
  assembled "HMMA.16816.F32.BF16 R4, R4, R8, RZ ;"; expect 0 "62%" table
  echo "f.cu f 256 240000 4 TC 4 1 mma" >"$lines"; expect 1 "not one block fits" table
  echo "f.cu f 256 120000 4 TC 4 1 mma" >"$lines"; expect 0 "not built for; these need more: f.cu f" table
  expect 0 " 118.2 " table
  echo "f.cu g 256 0 4 TC 4 1 -" >"$lines"; expect 1 "names f.cu g, which was not compiled" table; expect 1 "f.cu f has no line" table

  says() { for word; do echo "echo '$word'"; done >"$tree/dis"; chmod +x "$tree/dis"; }  # a disassembler
  mkdir "$tree/probe"
  { ptxas 0 0 0 ""; ptxas 0 0 0 ""; ptxas 0 0 0 ""; } >"$tree/probe/ptx_probe.log"
  expect 0 "every instruction of ov::ptx assembles for sm_90a" probe "$tree" 90a ""
  expect 1 "its kernels for sm_80 are missing" probe "$tree" "80 90a" ""
  says "ARRIVES.LDGSTSBAR.64 [UR4] ;"; expect 0 "assembles for" probe "$tree" 90a "$tree/dis"
  says "LDGSTS.E.BYPASS.128 [R5] ;"; expect 1 "no copy arrives at a barrier" probe "$tree" 90a "$tree/dis"
  ptxas 0 4 0 "" >>"$tree/probe/ptx_probe.log"; expect 1 "local arrays in memory" probe "$tree" 90a ""
  [ "$failed" = 0 ] && echo "self-test: passed"
  return "$failed"
}

case ${1-} in
  --self-test) self_test ;;
  *) check "$1" "$2" ;;
esac
