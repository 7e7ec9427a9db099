#include "kernels/cpu/gemm_wide.h"

#include <algorithm>
#include <array>
#include <utility>

#if OV_GEMM_AVX2
#define OV_WIDE_INLINE inline __attribute__((always_inline, target("avx512f")))
#endif

namespace ov::kernels::cpu {
namespace {

#if OV_GEMM_AVX2

template <class T>
struct Wide;

template <>
struct Wide<float> {
  using V = __m512;
  using Mask = __mmask16;
  OV_WIDE_INLINE static V zero() { return _mm512_setzero_ps(); }
  OV_WIDE_INLINE static V broadcast(const float* p) { return _mm512_set1_ps(*p); }
  OV_WIDE_INLINE static V load(const float* p) { return _mm512_loadu_ps(p); }
  OV_WIDE_INLINE static V load(Mask m, const float* p) { return _mm512_maskz_loadu_ps(m, p); }
  OV_WIDE_INLINE static void store(Mask m, float* p, V x) { _mm512_mask_storeu_ps(p, m, x); }
  OV_WIDE_INLINE static V plus(V x, V y) { return _mm512_add_ps(x, y); }
  OV_WIDE_INLINE static V add_product(V s, V x, V y) { return _mm512_fmadd_ps(x, y, s); }
};

template <>
struct Wide<double> {
  using V = __m512d;
  using Mask = __mmask8;
  OV_WIDE_INLINE static V zero() { return _mm512_setzero_pd(); }
  OV_WIDE_INLINE static V broadcast(const double* p) { return _mm512_set1_pd(*p); }
  OV_WIDE_INLINE static V load(const double* p) { return _mm512_loadu_pd(p); }
  OV_WIDE_INLINE static V load(Mask m, const double* p) { return _mm512_maskz_loadu_pd(m, p); }
  OV_WIDE_INLINE static void store(Mask m, double* p, V x) { _mm512_mask_storeu_pd(p, m, x); }
  OV_WIDE_INLINE static V plus(V x, V y) { return _mm512_add_pd(x, y); }
  OV_WIDE_INLINE static V add_product(V s, V x, V y) { return _mm512_fmadd_pd(x, y, s); }
};

// A mask that stays in a mask register: without this, GCC moves it there again for every k, in place of a product.
template <class M>
OV_WIDE_INLINE M in_mask_register(M mask) {
  asm("" : "+Yk"(mask));
  return mask;
}

// What the processor does not foresee of A: rows that lie apart are short, and steps from k to k are long. Asks for the
// next tile's part of the line that is read now, or for the next `line` steps. May point past A, which does no harm.
template <class T, int R>
OV_WIDE_INLINE void prefetch_a(const T* const* rows, std::int64_t a_row, std::int64_t a_col) {
  if (a_col == 1) {
    OV_UNROLL
    for (int i = 0; i < R; ++i) __builtin_prefetch(rows[i / 3] + (i % 3) * a_row + wide_rows * a_row);
  } else if (a_col >= line<T>) {
    OV_UNROLL
    for (std::int64_t k = line<T>; k < 2 * line<T>; ++k) {
      __builtin_prefetch(rows[0] + k * a_col);
      if (R > 1) __builtin_prefetch(rows[(R - 1) / 3] + (R - 1) % 3 * a_row + k * a_col);
    }
  }
}

template <class T, int R, int V>
OV_WIDE void tile_512(std::int64_t K, const T* a, const T* below, std::int64_t a_row, std::int64_t a_col, const T* b,
                      std::int64_t to_second, std::int64_t b_row, const TileOut<T>& out) {
  using W = Wide<T>;
  constexpr std::int64_t width = tile_columns<T>;
  const auto last = in_mask_register(static_cast<typename W::Mask>((1u << (out.columns - (V - 1) * width)) - 1u));
  typename W::V s[R][V];
  OV_UNROLL
  for (int i = 0; i < R; ++i) {
    OV_UNROLL
    for (int j = 0; j < V; ++j) s[i][j] = W::zero();
  }
  // Rows by threes: one address register and the same two indices serve each.
  const T* rows[4] = {a, a + 3 * a_row, below, below + 3 * a_row};
  const T *second = b + to_second, *ahead = out.ahead;
  // C is asked for piece by piece where there is time: all at once it would hold up A and B.
  const std::int64_t asked_at_once = K >= 6 * line<T> ? (R * V + 5) / 6 : R * V;
  for (std::int64_t k = 0, asked = 0; k < K;) {
    prefetch_a<T, R>(rows, a_row, a_col);
    for (const std::int64_t until = std::min<std::int64_t>(asked + asked_at_once, R * V); asked < until; ++asked)
      __builtin_prefetch(out.c + asked / V * out.c_row + asked % V * width, 1);
    for (std::int64_t i = 0; i < out.ahead_lines; ++i, ahead += line<T>) __builtin_prefetch(ahead, 0, 2);
    for (const std::int64_t end = std::min(k + line<T>, K); k < end; ++k, b += b_row, second += b_row) {
      typename W::V y[V];
      y[0] = V == 1 ? W::load(last, b) : W::load(b);
      if constexpr (V == 2) y[1] = W::load(last, second);
      OV_UNROLL
      for (int i = 0; i < R; ++i) {
        const typename W::V x = W::broadcast(rows[i / 3] + (i % 3) * a_row);
        OV_UNROLL
        for (int j = 0; j < V; ++j) s[i][j] = W::add_product(s[i][j], x, y[j]);
      }
      OV_UNROLL
      for (int i = 0; i < (R + 2) / 3; ++i) rows[i] += a_col;
    }
  }
  OV_UNROLL
  for (int j = 0; j < V; ++j) {
    const auto mask = j == V - 1 ? last : static_cast<typename W::Mask>(-1);
    const typename W::V bias = out.bias ? W::load(mask, out.bias + j * width) : W::zero();
    OV_UNROLL
    for (int i = 0; i < R; ++i) {
      T* c = out.c + i * out.c_row + j * width;
      typename W::V r = out.add ? W::plus(W::load(mask, c), s[i][j]) : s[i][j];
      if (out.bias) r = W::plus(r, bias);
      W::store(mask, c, r);
    }
  }
}

template <class T, int... R>
constexpr std::array<std::array<WideTileFn<T>, 2>, wide_rows> tiles_of(std::integer_sequence<int, R...>) {
  return {{{tile_512<T, R + 1, 1>, tile_512<T, R + 1, 2>}...}};
}
template <class T>
constexpr auto tiles_512 = tiles_of<T>(std::make_integer_sequence<int, wide_rows>());

OV_WIDE double chains_512(std::int64_t rounds, double* sum) {
  constexpr int chains = 16;  // as many as hide the latency of two units (4 cycles each), twice
  using W = Wide<float>;
  const float one = 1.0F, small = 1e-9F;
  const W::V x = W::broadcast(&one), y = W::broadcast(&small);
  W::V s[chains];
  OV_UNROLL
  for (int i = 0; i < chains; ++i) {  // each from another number: equal ones would be computed once
    const auto start = static_cast<float>(i);
    s[i] = W::broadcast(&start);
  }
  for (std::int64_t r = 0; r < rounds; ++r) {
    OV_UNROLL
    for (int i = 0; i < chains; ++i) s[i] = W::add_product(s[i], x, y);
  }
  OV_UNROLL
  for (int i = 0; i < chains; ++i) *sum += static_cast<double>(s[i][0]);
  return 2.0 * chains * 16 * static_cast<double>(rounds);
}

#else

template <class T>
constexpr WideTileFn<T> tiles_512[wide_rows][2] = {};
double chains_512(std::int64_t, double*) { return 0; }

#endif

}  // namespace

template <class T>
WideTileFn<T> wide_tile(std::int64_t rows, std::int64_t columns) {
  return tiles_512<T>[static_cast<std::size_t>(rows - 1)][columns > tile_columns<T>];
}
template WideTileFn<float> wide_tile<float>(std::int64_t, std::int64_t);
template WideTileFn<double> wide_tile<double>(std::int64_t, std::int64_t);

double run_wide_chains(std::int64_t rounds, double* sum) { return chains_512(rounds, sum); }

}  // namespace ov::kernels::cpu
