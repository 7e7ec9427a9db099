// One vector register of T: AVX2 + FMA, or plain loops with the same bits (std::fma rounds once, as the instruction).
#pragma once
#include <cmath>
#include <cstdint>

#include "tensor/dtype.h"

#if defined(__AVX2__) && defined(__FMA__) && !defined(OV_PORTABLE)
#define OV_GEMM_AVX2 1
#define OV_WIDE __attribute__((target("avx512f")))  // only where wide_vectors() (gemm_wide.h) says that they are there
#include <immintrin.h>
#else
#define OV_GEMM_AVX2 0
#define OV_WIDE
#endif

// Loops over registers have to disappear, or the accumulators would live in memory. Not where every access is checked:
// a file would take minutes to compile.
#if defined(OV_SANITIZED)
#define OV_UNROLL
#elif defined(__clang__)
#define OV_UNROLL _Pragma("unroll")
#else
#define OV_UNROLL _Pragma("GCC unroll 16")
#endif

namespace ov::kernels::cpu {

template <class T>
struct Lanes;

#if OV_GEMM_AVX2

template <>
struct Lanes<float> {
  static constexpr std::int64_t width = 8;
  __m256 v = _mm256_setzero_ps();

  static Lanes load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static Lanes broadcast(const float* p) { return {_mm256_broadcast_ss(p)}; }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  void add_product(Lanes a, Lanes b) { v = _mm256_fmadd_ps(a.v, b.v, v); }
  Lanes plus(Lanes b) const { return {_mm256_add_ps(v, b.v)}; }
  Lanes larger(Lanes b) const { return {_mm256_max_ps(v, b.v)}; }  // v > b ? v : b, so b where one is NaN
  // Bit i: lane i is at least b's; of a NaN it is not.
  unsigned at_least(Lanes b) const {
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(v, b.v, _CMP_GE_OQ)));
  }

  // x[i] = column k + i of eight rows. The halves of a register are filled from rows four apart, so that no shuffle has
  // to cross them.
  static void load_transposed(const float* const (&row)[8], std::int64_t k, Lanes (&x)[8]) {
    OV_UNROLL
    for (int half = 0; half < 8; half += 4) {
      __m256 r[4];
      OV_UNROLL
      for (int i = 0; i < 4; ++i) {
        const __m256 low = _mm256_castps128_ps256(_mm_loadu_ps(row[i] + k + half));
        r[i] = _mm256_insertf128_ps(low, _mm_loadu_ps(row[i + 4] + k + half), 1);
      }
      const __m256 a = _mm256_unpacklo_ps(r[0], r[1]), b = _mm256_unpackhi_ps(r[0], r[1]);
      const __m256 c = _mm256_unpacklo_ps(r[2], r[3]), d = _mm256_unpackhi_ps(r[2], r[3]);
      x[half].v = _mm256_shuffle_ps(a, c, 0x44), x[half + 1].v = _mm256_shuffle_ps(a, c, 0xee);
      x[half + 2].v = _mm256_shuffle_ps(b, d, 0x44), x[half + 3].v = _mm256_shuffle_ps(b, d, 0xee);
    }
  }

  // x[i] = column k + i of eight rows of bf16, widened: pairs of columns are turned as floats would be, then parted.
  static void load_transposed(const Bf16* const (&row)[8], std::int64_t k, Lanes (&x)[16]) {
    const float* pairs[8];
    OV_UNROLL
    for (int i = 0; i < 8; ++i) pairs[i] = reinterpret_cast<const float*>(row[i] + k);
    Lanes p[8];
    load_transposed(pairs, 0, p);
    const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    OV_UNROLL
    for (int i = 0; i < 8; ++i) {
      const __m256i both = _mm256_castps_si256(p[i].v);
      x[2 * i].v = _mm256_castsi256_ps(_mm256_slli_epi32(both, 16));
      x[2 * i + 1].v = _mm256_castsi256_ps(_mm256_and_si256(both, upper));
    }
  }
};

template <>
struct Lanes<double> {
  static constexpr std::int64_t width = 4;
  __m256d v = _mm256_setzero_pd();

  static Lanes load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static Lanes broadcast(const double* p) { return {_mm256_broadcast_sd(p)}; }
  void store(double* p) const { _mm256_storeu_pd(p, v); }
  void add_product(Lanes a, Lanes b) { v = _mm256_fmadd_pd(a.v, b.v, v); }
  Lanes plus(Lanes b) const { return {_mm256_add_pd(v, b.v)}; }
  Lanes larger(Lanes b) const { return {_mm256_max_pd(v, b.v)}; }

  static void load_transposed(const double* const (&row)[4], std::int64_t k, Lanes (&x)[4]) {
    OV_UNROLL
    for (int half = 0; half < 4; half += 2) {
      __m256d r[2];
      OV_UNROLL
      for (int i = 0; i < 2; ++i) {
        const __m256d low = _mm256_castpd128_pd256(_mm_loadu_pd(row[i] + k + half));
        r[i] = _mm256_insertf128_pd(low, _mm_loadu_pd(row[i + 2] + k + half), 1);
      }
      x[half].v = _mm256_unpacklo_pd(r[0], r[1]), x[half + 1].v = _mm256_unpackhi_pd(r[0], r[1]);
    }
  }
};

#else

template <class T>
struct Lanes {
  static constexpr std::int64_t width = 32 / static_cast<std::int64_t>(sizeof(T));
  T v[width] = {};

  static Lanes load(const T* p) {
    Lanes r;
    for (int i = 0; i < width; ++i) r.v[i] = p[i];
    return r;
  }
  static Lanes broadcast(const T* p) {
    Lanes r;
    for (int i = 0; i < width; ++i) r.v[i] = *p;
    return r;
  }
  void store(T* p) const {
    for (int i = 0; i < width; ++i) p[i] = v[i];
  }
  void add_product(const Lanes& a, const Lanes& b) {
    for (int i = 0; i < width; ++i) v[i] = std::fma(a.v[i], b.v[i], v[i]);
  }
  Lanes plus(const Lanes& b) const {
    Lanes r;
    for (int i = 0; i < width; ++i) r.v[i] = v[i] + b.v[i];
    return r;
  }
  Lanes larger(const Lanes& b) const {
    Lanes r;
    for (int i = 0; i < width; ++i) r.v[i] = v[i] > b.v[i] ? v[i] : b.v[i];
    return r;
  }
  unsigned at_least(const Lanes& b) const {
    unsigned bits = 0;
    for (int i = 0; i < width; ++i) bits |= static_cast<unsigned>(v[i] >= b.v[i]) << i;
    return bits;
  }
  static void load_transposed(const T* const (&row)[width], std::int64_t k, Lanes (&x)[width]) {
    for (int i = 0; i < width; ++i)
      for (int j = 0; j < width; ++j) x[i].v[j] = row[j][k + i];
  }
  static void load_transposed(const Bf16* const (&row)[width], std::int64_t k, Lanes (&x)[2 * width]) {
    for (int i = 0; i < 2 * width; ++i)
      for (int j = 0; j < width; ++j) x[i].v[j] = row[j][k + i];
  }
};

#endif

}  // namespace ov::kernels::cpu
