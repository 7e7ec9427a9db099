// Products of large bf16 matrices, of which a part is in f32 at a time (kernels/cpu/gemm_tensors.cpp): bits, memory.
#include <doctest/doctest.h>

#include <fstream>
#include <sstream>

#include "kernels/copy.h"
#include "kernels/gemm.h"
#include "tests/check.h"
#include "tests/kernels/strided_rows.h"

using namespace ov;
using namespace ov::test;

namespace {

// c [M,N] of one product in every type of c, added to what is there and with a bias: the bits of one of f32 matrices.
void check_bits(std::int64_t M, std::int64_t N, std::int64_t K, bool trans_a, bool trans_b) {
  const Tensor a = trans_a ? numbers(K, M, 1) : numbers(M, K, 1), b = trans_b ? numbers(N, K, 2) : numbers(K, N, 2),
               bias = numbers(1, N, 3).contiguous_copy().view({N}), before = numbers(M, N, 4);
  const Tensor wide_a = a.to(Dtype::f32), wide_b = b.to(Dtype::f32);
  for (const Dtype dtype : {Dtype::bf16, Dtype::f32})
    for (const bool accumulate : {false, true}) {
      const Tensor c = before.to(dtype), wide = c.to(Dtype::f32);
      kernels::Gemm g{.c = c, .a = a, .b = b, .trans_a = trans_a, .trans_b = trans_b, .accumulate = accumulate};
      if (!accumulate) g.bias = bias;
      kernels::gemm(g);
      g.c = wide, g.a = wide_a, g.b = wide_b;
      if (g.bias) g.bias = bias.to(Dtype::f32);
      kernels::gemm(g);
      CHECK_MESSAGE(same_bits(c, wide.to(dtype)), M, " x ", N, " of ", K, " in ", name_of(dtype),
                    trans_a ? ", a^T" : "", trans_b ? ", b^T" : "", accumulate ? ", added" : "");
    }
}

// Bytes of this process: VmRSS now, or VmHWM, the most since reset_peak().
std::int64_t resident(const std::string& what) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(what)) return 1024 * std::stoll(line.substr(what.size()));
  return 0;
}
void reset_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace

TEST_CASE("gemm: a bf16 matrix of which a part is in f32 at a time gives the bits of one that was widened whole") {
  constexpr std::int64_t large = 3001, narrow = 2801;  // more elements than are widened at once, no whole blocks
  for (const bool trans_a : {false, true})
    for (const bool trans_b : {false, true}) {
      check_bits(3, large, narrow, trans_a, trans_b);  // of B
      check_bits(large, 3, narrow, trans_a, trans_b);  // of A
      check_bits(701, 701, 12001, trans_a, trans_b);   // of both
    }
}

#ifndef OV_SANITIZED
TEST_CASE("gemm: a bf16 head's gradients take no second copy of the logits' gradient") {
  constexpr std::int64_t rows = 256, C = 8, V = 1 << 16;
  const Tensor dy = numbers(rows, V, 1), x = numbers(rows, C, 2), w = numbers(V, C, 3);
  const Tensor dw = Tensor::zeros({V, C}, Dtype::f32, cpu()), dx = Tensor::zeros({rows, C}, Dtype::bf16, cpu());
  const auto most = [](const kernels::Gemm& g) {
    reset_peak();
    const std::int64_t before = resident("VmRSS:");
    kernels::gemm(g);
    return resident("VmHWM:") - before;
  };
  constexpr std::int64_t whole = 4 * rows * V;
  CHECK(most({.c = dw, .a = dy, .b = x, .trans_a = true, .accumulate = true}) < whole / 2);
  CHECK(most({.c = dx, .a = dy, .b = w}) < whole / 2);
}
#endif
