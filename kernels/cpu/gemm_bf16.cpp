#include "kernels/cpu/gemm_bf16.h"

#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_lanes.h"
#include "kernels/cpu/widened.h"

namespace ov::kernels::cpu {
namespace {

using L = Lanes<float>;
constexpr std::int64_t W = L::width, vectors = 4, columns = vectors * W;  // independent chains hide the latency

// c[j] = Σ_k a[k] b[j b_col + k] for `n` <= columns j. B is turned in registers; its rows are read from end to end.
void row_product(std::int64_t K, const float* a, const Bf16* b, std::int64_t b_col, std::int64_t n, float* c) {
  const Bf16* row[vectors][W];
  for (std::int64_t j = 0; j < columns; ++j) row[j / W][j % W] = b + std::min(j, n - 1) * b_col;
  L total[vectors];
  for (std::int64_t begin = 0; begin < K; begin += gemm_block_k) {
    const std::int64_t end = std::min(K, begin + gemm_block_k);
    L s[vectors];
    std::int64_t k = begin;
    for (; k + 2 * W <= end; k += 2 * W) {
      OV_UNROLL
      for (int v = 0; v < vectors; ++v) {
        L x[2 * W];
        L::load_transposed(row[v], k, x);
        OV_UNROLL
        for (int i = 0; i < 2 * W; ++i) s[v].add_product(L::broadcast(a + k + i), x[i]);
      }
    }
    for (; k < end; ++k)
      for (int v = 0; v < vectors; ++v) {
        float x[W];
        for (int i = 0; i < W; ++i) x[i] = row[v][i][k];
        s[v].add_product(L::broadcast(a + k), L::load(x));
      }
    for (int v = 0; v < vectors; ++v) total[v] = begin == 0 ? s[v] : total[v].plus(s[v]);
  }
  for (int v = 0; v < vectors; ++v) total[v].store(c + v * W);
}

}  // namespace

template <class C>
void few_rows_product(const Gemm& g) {
  const auto [M, N] = g.c.dims<2>();
  const std::int64_t K = g.a.dims<2>()[1], b_col = g.b.row_stride();
  const Tensor wide_a = widened<Bf16>(g.a);
  const float* a = wide_a.device_data<float>();
  const Bf16 *b = g.b.device_data<Bf16>(), *bias = g.bias ? g.bias.device_data<Bf16>() : nullptr;
  // Columns that are worth handing to a thread; more rows share what was widened, as much as stays in its cache.
  const std::int64_t worth = std::max<std::int64_t>(1, (1 << 18) / std::max<std::int64_t>(1, M * K * columns));
  const std::int64_t at_once = M == 1 ? columns : std::clamp<std::int64_t>((1 << 17) / K / columns, 1, 8) * columns;
  parallel_for((N + at_once - 1) / at_once, worth, [&, M = M, N = N](std::int64_t block) {
    const std::int64_t first = block * at_once, n = std::min(at_once, N - first);
    thread_local std::vector<float> sums, rows;
    sums.resize(static_cast<std::size_t>(M * at_once));
    if (M == 1) {
      row_product(K, a, b + first * b_col, b_col, n, sums.data());
    } else {
      rows.resize(static_cast<std::size_t>(n * K));
      for (std::int64_t j = 0; j < n; ++j) {
        const Bf16* from = b + (first + j) * b_col;
        float* to = rows.data() + j * K;
        for (std::int64_t k = 0; k < K; ++k) to[k] = from[k];
      }
      gemm_serial<float>(M, n, K, a, K, 1, rows.data(), 1, K, sums.data(), at_once, false);
    }
    for (std::int64_t m = 0; m < M; ++m) {
      C* c = g.c.device_row<C>(m) + first;
      const float* s = sums.data() + m * at_once;
      for (std::int64_t j = 0; j < n; ++j) c[j] = C(bias ? s[j] + float(bias[first + j]) : s[j]);
    }
  });
}

template void few_rows_product<Bf16>(const Gemm&);
template void few_rows_product<float>(const Gemm&);

}  // namespace ov::kernels::cpu
