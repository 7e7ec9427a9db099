#include "kernels/cpu/gemm_wide.h"

#include <atomic>

#if OV_GEMM_AVX2
#define OV_WIDE __attribute__((target("avx512f")))
#define OV_WIDE_INLINE inline __attribute__((always_inline, target("avx512f")))
#endif

namespace ov::kernels::cpu {
namespace {

std::atomic<bool> allowed{true};

#if OV_GEMM_AVX2

template <class T>
struct Wide;

template <>
struct Wide<float> {
  using V = __m512;
  using Mask = __mmask16;
  OV_WIDE_INLINE static V zero() { return _mm512_setzero_ps(); }
  OV_WIDE_INLINE static V broadcast(const float* p) { return _mm512_set1_ps(*p); }
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
  OV_WIDE_INLINE static V load(Mask m, const double* p) { return _mm512_maskz_loadu_pd(m, p); }
  OV_WIDE_INLINE static void store(Mask m, double* p, V x) { _mm512_mask_storeu_pd(p, m, x); }
  OV_WIDE_INLINE static V plus(V x, V y) { return _mm512_add_pd(x, y); }
  OV_WIDE_INLINE static V add_product(V s, V x, V y) { return _mm512_fmadd_pd(x, y, s); }
};

template <class T, int R>
OV_WIDE void tile_512(std::int64_t K, const T* a, const T* below, std::int64_t a_row, std::int64_t a_col, const T* b,
                      std::int64_t b_row, const TileOut<T>& out) {
  using W = Wide<T>;
  const auto mask = static_cast<typename W::Mask>((1u << out.columns) - 1u);
  typename W::V s[R];
  OV_UNROLL
  for (int i = 0; i < R; ++i) {
    s[i] = W::zero();
    __builtin_prefetch(out.c + i * out.c_row, 1);
  }
  // Rows by threes: one address register and the same two indices serve each.
  const T* rows[4] = {a, a + 3 * a_row, below, below + 3 * a_row};
  for (std::int64_t k = 0; k < K; ++k, b += b_row) {
    const typename W::V y = W::load(mask, b);
    OV_UNROLL
    for (int i = 0; i < R; ++i) s[i] = W::add_product(s[i], W::broadcast(rows[i / 3] + (i % 3) * a_row), y);
    OV_UNROLL
    for (int i = 0; i < (R + 2) / 3; ++i) rows[i] += a_col;
  }
  OV_UNROLL
  for (int i = 0; i < R; ++i) {
    T* c = out.c + i * out.c_row;
    typename W::V r = out.add ? W::plus(W::load(mask, c), s[i]) : s[i];
    if (out.bias) r = W::plus(r, W::load(mask, out.bias));
    W::store(mask, c, r);
  }
}

template <class T>
constexpr WideTileFn<T> tiles_512[wide_rows] = {tile_512<T, 1>, tile_512<T, 2>,  tile_512<T, 3>,  tile_512<T, 4>,
                                                tile_512<T, 5>, tile_512<T, 6>,  tile_512<T, 7>,  tile_512<T, 8>,
                                                tile_512<T, 9>, tile_512<T, 10>, tile_512<T, 11>, tile_512<T, 12>};

bool processor_has_them() {
  static const bool yes = __builtin_cpu_supports("avx512f");
  return yes;
}

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
constexpr WideTileFn<T> tiles_512[wide_rows] = {};
bool processor_has_them() { return false; }
double chains_512(std::int64_t, double*) { return 0; }

#endif

}  // namespace

bool wide_vectors() { return allowed.load(std::memory_order_relaxed) && processor_has_them(); }
void allow_wide_vectors(bool yes) { allowed = yes; }

template <class T>
WideTileFn<T> wide_tile(std::int64_t rows) {
  return tiles_512<T>[rows - 1];
}
template WideTileFn<float> wide_tile<float>(std::int64_t);
template WideTileFn<double> wide_tile<double>(std::int64_t);

double run_wide_chains(std::int64_t rounds, double* sum) { return chains_512(rounds, sum); }

}  // namespace ov::kernels::cpu
