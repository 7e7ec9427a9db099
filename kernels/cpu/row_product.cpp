#include "kernels/cpu/row_product.h"

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_wide.h"

namespace ov::kernels::cpu {
namespace {

template <class B>
constexpr std::int64_t line = 64 / static_cast<std::int64_t>(sizeof(B));  // of the cache

// Rows of B that are worked on together: few, since the processor follows few streams at a time, and as many as keep
// its multiply-add units busy, each vector of sums being one chain of operations that wait for each other. More rows of
// a have more chains.
template <class T, class B>
constexpr std::int64_t vectors(std::int64_t M) {
  return M > 1 || (std::is_same_v<T, float> && std::is_same_v<B, float>) ? 1 : 2;
}

// Rows of a by which B is multiplied in registers of the build's width: as many as leave room for what was turned.
template <class T>
constexpr std::int64_t narrow_rows = std::min<std::int64_t>(8, most_rows<T>);

// sums[m stride + j] of M rows of a, and of `n` rows of B; the last one stands for those that are missing.
template <class T, class B>
using SomeRows = void (*)(const RowProduct<T, B>& p, const T* a, const B* b, std::int64_t n, T* sums,
                          std::int64_t stride);

template <class T, class B, int M>
void some_rows(const RowProduct<T, B>& p, const T* a, const B* b, std::int64_t n, T* sums, std::int64_t stride) {
  using L = Lanes<T>;
  constexpr std::int64_t W = L::width, V = vectors<T, B>(M);
  constexpr std::int64_t turned = W * static_cast<std::int64_t>(sizeof(T) / sizeof(B));  // k at a time
  const B* row[V][W];
  for (std::int64_t j = 0; j < V * W; ++j) row[j / W][j % W] = b + std::min(j, n - 1) * p.b_col;
  Ahead ahead(b + V * W * p.b_col, p.b_col == p.K);
  for (std::int64_t begin = 0; begin < p.K; begin += gemm_block_k) {
    const std::int64_t end = std::min(p.K, begin + gemm_block_k);
    L s[M][V];
    const auto multiply = [&](std::int64_t k, int v, const L& x) __attribute__((always_inline)) {
      OV_UNROLL
      for (int m = 0; m < M; ++m) s[m][v].add_product(L::broadcast(a + k * p.a_col + m), x);
    };
    const auto turn = [&](std::int64_t k) __attribute__((always_inline)) {
      OV_UNROLL
      for (int v = 0; v < V; ++v) {
        L x[turned];
        L::load_transposed(row[v], k, x);
        OV_UNROLL
        for (int i = 0; i < turned; ++i) multiply(k + i, v, x[i]);
      }
    };
    std::int64_t k = begin;
    for (; k + line<B> <= end; k += line<B>) {
      ahead.ask<V * W>();
      OV_UNROLL
      for (std::int64_t i = 0; i < line<B>; i += turned) turn(k + i);
    }
    for (; k + turned <= end; k += turned) turn(k);
    for (; k < end; ++k)
      for (int v = 0; v < V; ++v) {
        T x[W];
        for (int i = 0; i < W; ++i) x[i] = T(row[v][i][k]);
        multiply(k, v, L::load(x));
      }
    for (int m = 0; m < M; ++m)
      for (int v = 0; v < V; ++v) {
        T* to = sums + m * stride + v * W;
        if (begin > 0 || p.accumulate) s[m][v] = L::load(to).plus(s[m][v]);
        s[m][v].store(to);
      }
  }
}

template <class T, class B, int... M>
constexpr std::array<SomeRows<T, B>, sizeof...(M)> narrow_tiles(std::integer_sequence<int, M...>) {
  return {some_rows<T, B, M + 1>...};
}
template <class T, class B>
constexpr auto narrow = narrow_tiles<T, B>(std::make_integer_sequence<int, narrow_rows<T>>());

#if OV_GEMM_AVX2
#define OV_WIDE_INLINE OV_WIDE inline __attribute__((always_inline))

// Plain forms of these leave an operand undefined, and GCC warns of it. A full mask costs nothing.
constexpr __mmask16 all = 0xffff;
OV_WIDE_INLINE __m512 low(__m512 a, __m512 b) { return _mm512_mask_unpacklo_ps(a, all, a, b); }
OV_WIDE_INLINE __m512 high(__m512 a, __m512 b) { return _mm512_mask_unpackhi_ps(a, all, a, b); }

// Four vectors as four rows of four floats in each quarter: columns become vectors.
OV_WIDE_INLINE void turn_quarters(const __m512 (&r)[4], __m512 (&x)[4]) {
  const __m512 a0 = low(r[0], r[1]), a1 = high(r[0], r[1]), b0 = low(r[2], r[3]), b1 = high(r[2], r[3]);
  x[0] = _mm512_mask_shuffle_ps(a0, all, a0, b0, 0x44), x[1] = _mm512_mask_shuffle_ps(a0, all, a0, b0, 0xee);
  x[2] = _mm512_mask_shuffle_ps(a1, all, a1, b1, 0x44), x[3] = _mm512_mask_shuffle_ps(a1, all, a1, b1, 0xee);
}

// x[i]: columns i of sixteen rows that lie `apart` elements from each other, four bytes of each; lane j those of row j.
// f32: sixteen bytes of four rows at a time. bf16: pairs, thirty-two bytes of two rows: half as many pieces.
OV_WIDE_INLINE void turn_512(const float* row, std::int64_t apart, __m512 (&x)[4]) {
  __m512 r[4];
  OV_UNROLL
  for (int i = 0; i < 4; ++i) {
    const auto part = [&](int j) __attribute__((always_inline)) { return _mm_loadu_ps(row + (i + j) * apart); };
    r[i] = _mm512_castps128_ps512(part(0));
    r[i] = _mm512_mask_insertf32x4(r[i], all, r[i], part(4), 1);
    r[i] = _mm512_mask_insertf32x4(r[i], all, r[i], part(8), 2);
    r[i] = _mm512_mask_insertf32x4(r[i], all, r[i], part(12), 3);
  }
  turn_quarters(r, x);
}
OV_WIDE_INLINE void turn_512(const Bf16* row, std::int64_t apart, __m512 (&x)[8]) {
  __m512 eight[2][4];
  OV_UNROLL
  for (int h = 0; h < 2; ++h) {
    __m512 r[4];
    OV_UNROLL
    for (int i = 0; i < 4; ++i) {
      const auto half = [&](int j) __attribute__((always_inline)) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + (8 * h + i + j) * apart));
      };
      const __m512i first = _mm512_castsi256_si512(half(0));
      r[i] = _mm512_castsi512_ps(_mm512_mask_inserti64x4(first, 0xff, first, half(4), 1));
    }
    turn_quarters(r, eight[h]);
  }
  OV_UNROLL
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm512_mask_shuffle_f32x4(eight[0][i], all, eight[0][i], eight[1][i], 0x88);
    x[4 + i] = _mm512_mask_shuffle_f32x4(eight[0][i], all, eight[0][i], eight[1][i], 0xdd);
  }
}

template <int M>
OV_WIDE_INLINE void multiply_512(const float* a, __m512 x, __m512 (&s)[M]) {
  OV_UNROLL
  for (int m = 0; m < M; ++m) s[m] = _mm512_fmadd_ps(_mm512_set1_ps(a[m]), x, s[m]);
}

// Of the pairs of bf16 in x the first, then the second; or x.
template <int M>
OV_WIDE_INLINE void multiply_512(const float* a, __m512 x, __m512 (&s)[M], Bf16) {
  const __m512i both = _mm512_castps_si512(x), upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  multiply_512<M>(a, _mm512_castsi512_ps(_mm512_mask_slli_epi32(both, all, both, 16)), s);
  multiply_512<M>(a + turned_width(M), _mm512_castsi512_ps(_mm512_and_si512(both, upper)), s);
}
template <int M>
OV_WIDE_INLINE void multiply_512(const float* a, __m512 x, __m512 (&s)[M], float) {
  multiply_512<M>(a, x, s);
}

// some_rows in 512-bit vectors, for 16 rows of B, K a multiple of a line and columns of a turned_width(M) apart.
template <class B, int M>
OV_WIDE void sixteen_rows_512(const RowProduct<float, B>& p, const float* a, const B* b, std::int64_t, float* sums,
                              std::int64_t stride) {
  constexpr int vectors = std::is_same_v<B, Bf16> ? 8 : 4, in_four_bytes = 4 / sizeof(B);
  constexpr std::int64_t columns = vectors * in_four_bytes;  // at a time
  Ahead ahead(b + 16 * p.b_col, p.b_col == p.K);
  for (std::int64_t begin = 0; begin < p.K; begin += gemm_block_k) {
    const std::int64_t end = std::min(p.K, begin + gemm_block_k);
    __m512 s[M];
    OV_UNROLL
    for (int m = 0; m < M; ++m) s[m] = _mm512_setzero_ps();
    for (std::int64_t k = begin; k < end; k += columns, b += columns, a += columns * turned_width(M)) {
      ahead.ask<16 * columns / line<B>>();
      __m512 x[vectors];
      turn_512(b, p.b_col, x);
      OV_UNROLL
      for (int i = 0; i < vectors; ++i) multiply_512<M>(a + i * in_four_bytes * turned_width(M), x[i], s, B());
    }
    OV_UNROLL
    for (int m = 0; m < M; ++m) {
      if (begin > 0 || p.accumulate) s[m] = _mm512_add_ps(_mm512_loadu_ps(sums + m * stride), s[m]);
      _mm512_storeu_ps(sums + m * stride, s[m]);
    }
  }
}

template <class B, int... M>
constexpr std::array<SomeRows<float, B>, sizeof...(M)> wide_tiles(std::integer_sequence<int, M...>) {
  return {sixteen_rows_512<B, M + 1>...};
}
template <class B>
constexpr auto wide = wide_tiles<B>(std::make_integer_sequence<int, most_rows<float>>());

// One row of f32 alone is quicker in short vectors: fewer streams.
template <class B>
SomeRows<float, B> wide_tile_of(const RowProduct<float, B>& p) {
  const bool fits = wide_vectors() && p.K % line<B> == 0 && p.a_col == turned_width(p.M);
  return fits && (p.M > 1 || std::is_same_v<B, Bf16>) ? wide<B>[static_cast<std::size_t>(p.M - 1)] : nullptr;
}
SomeRows<double, double> wide_tile_of(const RowProduct<double, double>&) { return nullptr; }

#else

template <class T, class B>
SomeRows<T, B> wide_tile_of(const RowProduct<T, B>&) {
  return nullptr;
}

#endif

}  // namespace

template <class T, class B>
void row_product(const RowProduct<T, B>& p) {
  constexpr std::int64_t stride = 16;
  T sums[most_rows<T> * stride];
  const SomeRows<T, B> wide_tile = wide_tile_of(p);
  const std::int64_t at_once = vectors<T, B>(p.M) * Lanes<T>::width;
  for (std::int64_t first = 0, n; first < p.N; first += n) {
    const bool sixteen = wide_tile && first + 16 <= p.N;
    n = std::min(sixteen ? 16 : at_once, p.N - first);
    const B* b = p.b + first * p.b_col;
    for (std::int64_t m = 0; p.accumulate && m < p.M; ++m) std::copy_n(p.c + m * p.c_row + first, n, sums + m * stride);
    if (sixteen) {
      wide_tile(p, p.a, b, n, sums, stride);
    } else {
      for (std::int64_t m = 0; m < p.M; m += narrow_rows<T>) {
        const std::int64_t rows = std::min(narrow_rows<T>, p.M - m);
        narrow<T, B>[static_cast<std::size_t>(rows - 1)](p, p.a + m, b, n, sums + m * stride, stride);
      }
    }
    for (std::int64_t m = 0; m < p.M; ++m) {
      T* c = p.c + m * p.c_row + first;
      const T* s = sums + m * stride;
      for (std::int64_t j = 0; j < n; ++j) c[j] = p.bias ? s[j] + p.bias[first + j] : s[j];
    }
  }
}

template void row_product(const RowProduct<float, float>&);
template void row_product(const RowProduct<double, double>&);
template void row_product(const RowProduct<float, Bf16>&);

}  // namespace ov::kernels::cpu
