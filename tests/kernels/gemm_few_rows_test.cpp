// Products of a few rows with a matrix that stays where it is: the bits of one that was widened whole.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "base/parallel.h"
#include "kernels/copy.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_few_rows.h"
#include "kernels/cpu/gemm_wide.h"
#include "tests/check.h"
#include "tests/kernels/strided_rows.h"

using namespace ov;
using namespace ov::test;

namespace {

// By the product that knows neither few rows nor bf16; one row as the first of two, since one alone has its own way.
Tensor widened_whole(const Tensor& a, const Tensor& b, const Tensor& bias, Dtype dtype) {
  if (a.dim(0) == 1) {
    const Tensor twice = Tensor::zeros({2, a.dim(1)}, a.dtype(), cpu());
    for (const std::int64_t i : {0, 1}) twice.slice(0, i, i + 1).copy_from(a);
    return widened_whole(twice, b, bias, dtype).slice(0, 0, 1);
  }
  const Tensor wide_a = a.to(Dtype::f32), wide_b = b.to(Dtype::f32), wide_bias = bias ? bias.to(Dtype::f32) : bias;
  const Tensor c({a.dim(0), b.dim(0)}, Dtype::f32, cpu());
  kernels::cpu::gemm_serial(kernels::cpu::Product<float>{.M = a.dim(0),
                                                         .N = b.dim(0),
                                                         .K = a.dim(1),
                                                         .a = wide_a.data<float>(),
                                                         .a_row = a.dim(1),
                                                         .a_col = 1,
                                                         .b = wide_b.data<float>(),
                                                         .b_row = 1,
                                                         .b_col = a.dim(1),
                                                         .c = c.data<float>(),
                                                         .c_row = b.dim(0),
                                                         .bias = bias ? wide_bias.data<float>() : nullptr});
  return dtype == Dtype::f32 ? c : c.to(dtype);
}

}  // namespace

TEST_CASE(
    "gemm: a few rows, of f32 or bf16, give the bits of a widened matrix, at every edge of rows, columns and blocks") {
  const int before = threads();
  const auto check = [](std::int64_t M, std::int64_t N, std::int64_t K, Dtype dtype, bool with_bias) {
    const Tensor a = numbers(M, K, 1), b = numbers(N, K, 2);
    const Tensor bias = with_bias ? numbers(1, N, 3).contiguous_copy().view({N}) : Tensor();
    const Tensor expected = widened_whole(a, b, bias, dtype);
    const auto by = [&](const char* how, const Tensor& rows, const Tensor& matrix, const Tensor& added) {
      const Tensor wide = Tensor::zeros({M, N + 2}, dtype, cpu()), c = wide.slice(1, 1, N + 1);
      kernels::gemm({.c = c, .a = rows, .b = matrix, .trans_b = true, .bias = added});
      CHECK_MESSAGE(same_bits(c.contiguous_copy(), expected), how, M, " x ", N, " x ", K);
      for (std::int64_t m = 0; m < M; ++m)  // nothing beside it
        CHECK(wide.slice(0, m, m + 1).slice(1, N + 1, N + 2).to(Dtype::f32).to_vector<float>()[0] == 0);
    };
    for (const bool wide : {true, false}) {  // nor does the width of a vector matter
      kernels::cpu::allow_wide_vectors(wide);
      by(wide ? "" : "narrow, ", a, b, bias);
      if (dtype == Dtype::bf16) continue;  // of an f32 matrix, with rows as wide as it is and wider
      const Tensor apart = Tensor::zeros({N, K + 5}, dtype, cpu()), added = with_bias ? bias.to(dtype) : bias;
      apart.slice(1, 2, K + 2).copy_from(b.to(dtype));
      for (const Tensor& matrix : {b.to(dtype), apart.slice(1, 2, K + 2)}) by("f32, ", a.to(dtype), matrix, added);
    }
    kernels::cpu::allow_wide_vectors(true);
  };
  for (const int n : {1, 2, 3}) {
    set_threads(n);
    for (const std::int64_t M : {1, 2, 7, 8, 9, 16, 17, 64, 65})
      for (const std::int64_t N : {1, 15, 16, 17, 31, 32, 33, 200})
        for (const std::int64_t K : {1, 2, 15, 16, 17, 32, 383, 384, 385, 416, 1000})
          for (const Dtype dtype : {Dtype::bf16, Dtype::f32}) {
            if (n == 2 && M > 1) continue;
            if (n == 3 && N < 33) continue;  // one thread's work
            check(M, N, K, dtype, (M + N + K) % 2 == 0);
          }
  }
  // As many rows as a prompt has, one more than is worth turning again, and rows of a matrix that lie 4 KB apart.
  for (const std::int64_t M : {128, 129, 512, 513}) check(M, 35, 96, M > 129 ? Dtype::bf16 : Dtype::f32, true);
  for (const std::int64_t M : {33, 257}) check(M, 18, M > 33 ? 2045 : 1019, M > 33 ? Dtype::bf16 : Dtype::f32, true);
  set_threads(before);
}

TEST_CASE("gemm: NaN and infinity of a bf16 matrix stay in their columns") {
  const Tensor a = numbers(1, 400, 1), b = numbers(40, 400, 2);
  b.row<Bf16>(3)[390] = Bf16(std::numeric_limits<float>::quiet_NaN());
  b.row<Bf16>(34)[17] = Bf16(std::numeric_limits<float>::infinity());
  const Tensor c({1, 40}, Dtype::f32, cpu());
  kernels::gemm({.c = c, .a = a, .b = b, .trans_b = true});
  for (std::int64_t n = 0; n < 40; ++n) CHECK(std::isfinite(c.data<float>()[n]) == (n != 3 && n != 34));
}
