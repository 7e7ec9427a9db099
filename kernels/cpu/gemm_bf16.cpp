#include "kernels/cpu/gemm_bf16.h"

#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/row_product.h"
#include "kernels/cpu/widened.h"

namespace ov::kernels::cpu {
namespace {

constexpr std::int64_t columns = 32;  // of B that are worked on together

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
      row_product<float, Bf16>(
          {.N = n, .K = K, .a = a, .a_col = 1, .b = b + first * b_col, .b_col = b_col, .c = sums.data()});
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
