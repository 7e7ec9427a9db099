#include "kernels/cpu/gemm_few_rows.h"

#include <algorithm>
#include <memory>

#include "base/parallel.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/row_product.h"
#include "kernels/cpu/widened.h"

namespace ov::kernels::cpu {
namespace {

using L = Lanes<float>;
constexpr std::int64_t W = L::width, columns = 32;  // rows of B that are worked on together

// to[k columns + j] = b[j b_col + begin + k] for k < K and j < n, widened; the last of n rows stands for those that are
// missing. `close`: rows follow each other in memory.
void turn_rows(std::int64_t begin, std::int64_t K, const Bf16* b, std::int64_t b_col, bool close, std::int64_t n,
               float* to) {
  constexpr std::int64_t turned = 2 * W;  // k at a time
  for (std::int64_t j = 0; j < columns; j += W) {
    const Bf16* row[W];
    for (std::int64_t i = 0; i < W; ++i) row[i] = b + std::min(j + i, n - 1) * b_col + begin;
    Ahead ahead(b + (columns + j) * b_col + W * begin, close);
    std::int64_t k = 0;
    for (; k + turned <= K; k += turned) {
      ahead.ask<W * turned / 32>();  // a line holds 32
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

template <class C>
void few_rows_product(const Gemm& g) {
  const auto [M, N] = g.c.dims<2>();
  const std::int64_t K = g.a.dims<2>()[1], b_col = g.b.row_stride();
  const Tensor a = widened<Bf16>(g.a);
  const float* a_rows = a.device_data<float>();
  const std::int64_t a_row = a.row_stride();
  const Bf16 *b = g.b.device_data<Bf16>(), *bias = g.bias ? g.bias.device_data<Bf16>() : nullptr;
  // Columns that are worth handing to a thread.
  const std::int64_t worth = std::max<std::int64_t>(1, (1 << 18) / std::max<std::int64_t>(1, M * K * columns));
  parallel_for((N + columns - 1) / columns, worth, [&, M = M, N = N](std::int64_t block) {
    const std::int64_t first = block * columns, n = std::min(columns, N - first);
    const Bf16* rows = b + first * b_col;
    thread_local const std::unique_ptr<float[]> turned(new float[gemm_block_k * columns]);
    float sums[few_rows * columns];
    if (M == 1) {
      row_product<float, Bf16>({.N = n, .K = K, .a = a_rows, .a_col = 1, .b = rows, .b_col = b_col, .c = sums});
    } else {
      // Block by block of gemm.h's sums, so that what was turned is still in the nearest cache.
      for (std::int64_t k = 0; k < K; k += gemm_block_k) {
        const std::int64_t k_block = std::min(gemm_block_k, K - k);
        turn_rows(k, k_block, rows, b_col, b_col == K, n, turned.get());
        gemm_serial<float>(M, n, k_block, a_rows + k, a_row, 1, turned.get(), columns, 1, sums, columns, k > 0);
      }
    }
    for (std::int64_t m = 0; m < M; ++m) {
      C* c = g.c.device_row<C>(m) + first;
      const float* s = sums + m * columns;
      for (std::int64_t j = 0; j < n; ++j) c[j] = C(bias ? s[j] + static_cast<float>(bias[first + j]) : s[j]);
    }
  });
}

template void few_rows_product<Bf16>(const Gemm&);
template void few_rows_product<float>(const Gemm&);

}  // namespace ov::kernels::cpu
