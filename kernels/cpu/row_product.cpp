#include "kernels/cpu/row_product.h"

#include <algorithm>
#include <type_traits>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_wide.h"

namespace ov::kernels::cpu {
namespace {

// Rows of B that are worked on together: few, since the processor follows few streams at a time, and as many as keep
// its multiply-add units busy, each vector of sums being one chain of operations that wait for each other.
template <class T, class B>
constexpr std::int64_t vectors = std::is_same_v<T, float>&& std::is_same_v<B, float> ? 1 : 2;
template <class T, class B>
constexpr std::int64_t rows_at_once = vectors<T, B>* Lanes<T>::width;

template <class B>
constexpr std::int64_t line = 64 / static_cast<std::int64_t>(sizeof(B));  // of the cache

// c[j] for `n` <= rows_at_once rows of B; the last one stands for those that are missing.
template <class T, class B>
void some_rows(const RowProduct<T, B>& p, const B* b, std::int64_t n, T* sums) {
  using L = Lanes<T>;
  constexpr std::int64_t W = L::width, V = vectors<T, B>;
  constexpr std::int64_t turned = W * static_cast<std::int64_t>(sizeof(T) / sizeof(B));  // k at a time
  const B* row[V][W];
  for (std::int64_t j = 0; j < V * W; ++j) row[j / W][j % W] = b + std::min(j, n - 1) * p.b_col;
  Ahead ahead(b + V * W * p.b_col, p.b_col == p.K);
  for (std::int64_t begin = 0; begin < p.K; begin += gemm_block_k) {
    const std::int64_t end = std::min(p.K, begin + gemm_block_k);
    L s[V];
    const auto turn = [&](std::int64_t k) __attribute__((always_inline)) {
      OV_UNROLL
      for (int v = 0; v < V; ++v) {
        L x[turned];
        L::load_transposed(row[v], k, x);
        OV_UNROLL
        for (int i = 0; i < turned; ++i) s[v].add_product(L::broadcast(p.a + (k + i) * p.a_col), x[i]);
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
        s[v].add_product(L::broadcast(p.a + k * p.a_col), L::load(x));
      }
    for (int v = 0; v < V; ++v) {
      if (begin > 0 || p.accumulate) s[v] = L::load(sums + v * W).plus(s[v]);
      s[v].store(sums + v * W);
    }
  }
}

#if OV_GEMM_AVX2

// Plain forms of these leave an operand undefined, and GCC warns of it. A full mask costs nothing.
constexpr __mmask16 all = 0xffff;
OV_WIDE inline __attribute__((always_inline)) __m512 low(__m512 a, __m512 b) {
  return _mm512_mask_unpacklo_ps(a, all, a, b);
}
OV_WIDE inline __attribute__((always_inline)) __m512 high(__m512 a, __m512 b) {
  return _mm512_mask_unpackhi_ps(a, all, a, b);
}

// Sixteen bytes of four rows, `apart` bytes apart, in the quarters of a vector.
OV_WIDE inline __attribute__((always_inline)) __m512i quarters(const char* row, std::int64_t apart) {
  const auto part = [&](std::int64_t i) __attribute__((always_inline)) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + i * apart));
  };
  __m512i x = _mm512_castsi128_si512(part(0));
  x = _mm512_inserti32x4(x, part(1), 1);
  x = _mm512_inserti32x4(x, part(2), 2);
  return _mm512_inserti32x4(x, part(3), 3);
}

// some_rows in 512-bit vectors, for 16 rows of bf16 and K a multiple of a line. Pairs of bf16 are turned as floats
// would be, then parted: vector i holds columns 2 i and 2 i + 1 of eight, lane 4 q + r is row 4 q + r.
OV_WIDE void sixteen_rows_512(const RowProduct<float, Bf16>& p, const Bf16* b, float* sums) {
  const auto apart = static_cast<std::int64_t>(sizeof(Bf16)) * p.b_col;
  const char* row = reinterpret_cast<const char*>(b);
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  Ahead ahead(b + 16 * p.b_col, p.b_col == p.K);
  for (std::int64_t begin = 0; begin < p.K; begin += gemm_block_k) {
    const std::int64_t end = std::min(p.K, begin + gemm_block_k);
    __m512 s = _mm512_setzero_ps();
    for (std::int64_t k = begin; k < end;) {
      ahead.ask<16>();
      for (const std::int64_t line_end = k + line<Bf16>; k < line_end; k += 8, row += 16) {
        __m512 r[4];
        OV_UNROLL
        for (int i = 0; i < 4; ++i) r[i] = _mm512_castsi512_ps(quarters(row + i * apart, 4 * apart));
        const __m512 a0 = low(r[0], r[1]), a1 = high(r[0], r[1]), b0 = low(r[2], r[3]), b1 = high(r[2], r[3]);
        const __m512 pairs[4] = {
            _mm512_mask_shuffle_ps(a0, all, a0, b0, 0x44), _mm512_mask_shuffle_ps(a0, all, a0, b0, 0xee),
            _mm512_mask_shuffle_ps(a1, all, a1, b1, 0x44), _mm512_mask_shuffle_ps(a1, all, a1, b1, 0xee)};
        OV_UNROLL
        for (int i = 0; i < 4; ++i) {
          const __m512i both = _mm512_castps_si512(pairs[i]);
          const __m512 even = _mm512_castsi512_ps(_mm512_mask_slli_epi32(both, all, both, 16));
          const __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(both, upper));
          s = _mm512_fmadd_ps(_mm512_set1_ps(p.a[k + 2 * i]), even, s);
          s = _mm512_fmadd_ps(_mm512_set1_ps(p.a[k + 2 * i + 1]), odd, s);
        }
      }
    }
    if (begin > 0) s = _mm512_add_ps(_mm512_loadu_ps(sums), s);
    _mm512_storeu_ps(sums, s);
  }
}

bool fits_512(const RowProduct<float, Bf16>& p) {
  return wide_vectors() && p.K % line<Bf16> == 0 && p.a_col == 1 && !p.accumulate;
}

#else

void sixteen_rows_512(const RowProduct<float, Bf16>&, const Bf16*, float*) {}
bool fits_512(const RowProduct<float, Bf16>&) { return false; }

#endif

}  // namespace

template <class T, class B>
void row_product(const RowProduct<T, B>& p) {
  constexpr std::int64_t at_once = rows_at_once<T, B>;
  for (std::int64_t first = 0; first < p.N; first += at_once) {
    const std::int64_t n = std::min(at_once, p.N - first);
    T sums[at_once], *c = p.c + first;
    std::copy_n(c, p.accumulate ? n : 0, sums);
    const B* b = p.b + first * p.b_col;
    bool done = false;
    if constexpr (std::is_same_v<B, Bf16>)
      if (n == 16 && fits_512(p)) sixteen_rows_512(p, b, sums), done = true;
    if (!done) some_rows(p, b, n, sums);
    for (std::int64_t j = 0; j < n; ++j) c[j] = p.bias ? sums[j] + p.bias[first + j] : sums[j];
  }
}

template void row_product(const RowProduct<float, float>&);
template void row_product(const RowProduct<double, double>&);
template void row_product(const RowProduct<float, Bf16>&);

}  // namespace ov::kernels::cpu
