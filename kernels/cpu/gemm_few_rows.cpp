#include "kernels/cpu/gemm_few_rows.h"

#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "kernels/cpu/gemm_wide.h"
#include "kernels/cpu/row_product.h"
#include "kernels/cpu/widened.h"

namespace ov::kernels::cpu {
namespace {

using L = Lanes<float>;
constexpr std::int64_t W = L::width, together = most_rows<float>;
constexpr std::int64_t columns = 32;  // rows of B that are worked on while they are in a near cache

// M <= `together` rows of a, widened and turned: to[k turned_width(M) + m] = a[m a_row + k] for k < K. The last one
// stands for those that are missing.
template <class B>
void turn_rows(std::int64_t M, std::int64_t K, const B* a, std::int64_t a_row, float* to) {
  constexpr std::int64_t turned = W * static_cast<std::int64_t>(sizeof(float) / sizeof(B));  // k at a time
  const std::int64_t width = turned_width(M);
  if (M == 1) {
    for (std::int64_t k = 0; k < K; ++k) to[k] = static_cast<float>(a[k]);
    return;
  }
  for (std::int64_t m = 0; m < width; m += W) {
    const B* row[W];
    for (std::int64_t i = 0; i < W; ++i) row[i] = a + std::min(m + i, M - 1) * a_row;
    std::int64_t k = 0;
    for (; k + turned <= K; k += turned) {
      L x[turned];
      L::load_transposed(row, k, x);
      OV_UNROLL
      for (int i = 0; i < turned; ++i) x[i].store(to + (k + i) * width + m);
    }
    for (; k < K; ++k)
      for (std::int64_t i = 0; i < W; ++i) to[k * width + m + i] = static_cast<float>(row[i][k]);
  }
}

// How many parts of a call, of `operations` each, are worth handing to a thread.
std::int64_t worth_handing_over(std::int64_t operations) {
  return std::max<std::int64_t>(1, (1 << 18) / std::max<std::int64_t>(1, operations));
}

// Rows up to which a matrix is turned for every 16 (8) rows again. Then panels pay, which are turned once: sooner where
// there is nothing to widen, soonest where rows of f32, 4 KB apart, fall into the same few sets of the cache.
std::int64_t most_of(const Gemm& g) {
  const bool bf16 = g.b.dtype() == Dtype::bf16;
  if (!wide_vectors()) return bf16 ? 64 : 16;
  if (bf16) return 512;
  return g.b.row_stride() % 1024 == 0 ? 32 : 128;
}

// Grow-only memory of this thread: the system would clear fresh pages for every call.
float* memory(std::int64_t n) {
  thread_local std::vector<float> kept;
  if (std::ssize(kept) < n) kept = std::vector<float>(), kept.resize(static_cast<std::size_t>(n));
  return kept.data();
}

}  // namespace

bool is_few_rows_product(const Gemm& g) {
  const auto [M, K] = g.a.dims<2>();
  return !g.trans_a && g.trans_b && !g.accumulate && M > 0 && M <= most_of(g) && K > 0;
}

template <class B, class C>
void few_rows_product(const Gemm& g) {
  const auto [M, N] = g.c.dims<2>();
  const std::int64_t K = g.a.dims<2>()[1], b_col = g.b.row_stride();
  const B *b = g.b.device_data<B>(), *bias = g.bias ? g.bias.device_data<B>() : nullptr;
  const std::int64_t pieces = (M + together - 1) / together;
  float* const a = memory(pieces * together * K);
  parallel_for(pieces, worth_handing_over(together * K), [&, M = M](std::int64_t piece) {
    const std::int64_t m = piece * together;
    turn_rows(std::min(together, M - m), K, g.a.device_row<B>(m), g.a.row_stride(), a + m * K);
  });
  parallel_for((N + columns - 1) / columns, worth_handing_over(M * K * columns), [&, M = M, N = N](std::int64_t block) {
    const std::int64_t first = block * columns, n = std::min(columns, N - first);
    for (std::int64_t m0 = 0; m0 < M; m0 += together) {
      const std::int64_t rows = std::min(together, M - m0);
      float sums[together * columns];
      row_product<float, B>({.N = n,
                             .K = K,
                             .a = a + m0 * K,
                             .a_col = turned_width(rows),
                             .b = b + first * b_col,
                             .b_col = b_col,
                             .c = sums,
                             .M = rows,
                             .c_row = columns});
      for (std::int64_t m = 0; m < rows; ++m) {
        C* c = g.c.device_row<C>(m0 + m) + first;
        const float* s = sums + m * columns;
        for (std::int64_t j = 0; j < n; ++j) c[j] = C(bias ? s[j] + static_cast<float>(bias[first + j]) : s[j]);
      }
    }
  });
}

template void few_rows_product<Bf16, Bf16>(const Gemm&);
template void few_rows_product<Bf16, float>(const Gemm&);
template void few_rows_product<float, float>(const Gemm&);

}  // namespace ov::kernels::cpu
