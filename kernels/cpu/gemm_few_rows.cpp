#include "kernels/cpu/gemm_few_rows.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "base/parallel.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/row_product.h"
#include "kernels/cpu/widened.h"

namespace ov::kernels::cpu {
namespace {

using L = Lanes<float>;
constexpr std::int64_t W = L::width, columns = 32;  // rows of B that are worked on together

// to[k columns + j] = b[j b_col + k] for j < n, widened; the last of n rows stands for those that are missing.
template <class B>
void turn_rows(std::int64_t K, const B* b, std::int64_t b_col, std::int64_t n, float* to) {
  constexpr std::int64_t turned = W * static_cast<std::int64_t>(sizeof(float) / sizeof(B));
  for (std::int64_t j = 0; j < columns; j += W) {
    const B* row[W];
    for (std::int64_t i = 0; i < W; ++i) row[i] = b + std::min(j + i, n - 1) * b_col;
    Ahead ahead(b + (columns + j) * b_col, b_col == K);
    std::int64_t k = 0;
    for (; k + turned <= K; k += turned) {
      ahead.ask<W * turned* static_cast<std::int64_t>(sizeof(B)) / 64>();
      L x[turned];
      L::load_transposed(row, k, x);
      OV_UNROLL
      for (int i = 0; i < turned; ++i) x[i].store(to + (k + i) * columns + j);
    }
    for (; k < K; ++k)
      for (std::int64_t i = 0; i < W; ++i) to[k * columns + j + i] = static_cast<float>(row[i][k]);
  }
}

}  // namespace

bool is_few_rows_product(const Gemm& g) {
  const auto [M, K] = g.a.dims<2>();
  return !g.trans_a && g.trans_b && !g.accumulate && M <= few_rows && M > 0 && K > 0;
}

template <class B, class C>
void few_rows_product(const Gemm& g) {
  const auto [M, N] = g.c.dims<2>();
  const std::int64_t K = g.a.dims<2>()[1], b_col = g.b.row_stride();
  const Tensor a = std::is_same_v<B, float> ? g.a : widened<B>(g.a);
  const float* a_rows = a.device_data<float>();
  const std::int64_t a_row = a.row_stride();
  const B *b = g.b.device_data<B>(), *bias = g.bias ? g.bias.device_data<B>() : nullptr;
  // Columns that are worth handing to a thread.
  const std::int64_t worth = std::max<std::int64_t>(1, (1 << 18) / std::max<std::int64_t>(1, M * K * columns));
  parallel_for((N + columns - 1) / columns, worth, [&, M = M, N = N](std::int64_t block) {
    const std::int64_t first = block * columns, n = std::min(columns, N - first);
    const B* rows = b + first * b_col;
    thread_local std::vector<float> turned;
    float sums[few_rows * columns];
    if (M == 1) {
      row_product<float, B>({.N = n, .K = K, .a = a_rows, .a_col = 1, .b = rows, .b_col = b_col, .c = sums});
    } else {
      turned.resize(static_cast<std::size_t>(columns * K));
      turn_rows(K, rows, b_col, n, turned.data());
      gemm_serial<float>(M, n, K, a_rows, a_row, 1, turned.data(), columns, 1, sums, columns, false);
    }
    for (std::int64_t m = 0; m < M; ++m) {
      C* c = g.c.device_row<C>(m) + first;
      const float* s = sums + m * columns;
      for (std::int64_t j = 0; j < n; ++j) c[j] = C(bias ? s[j] + static_cast<float>(bias[first + j]) : s[j]);
    }
  });
}

template void few_rows_product<float, float>(const Gemm&);
template void few_rows_product<Bf16, Bf16>(const Gemm&);
template void few_rows_product<Bf16, float>(const Gemm&);

}  // namespace ov::kernels::cpu
