// Instructions that have no CUDA C++ name, each with its twin for kernels/sim. Nothing but this file and ptx_barrier.h
// contains PTX. tests/kernels/ptx_probe.cu uses every function of both.
// Layouts: PTX manual, "Matrix Fragments for mma.m16n8k16 with floating point type" and "ldmatrix"
// (https://docs.nvidia.com/cuda/parallel-thread-execution/); tests/kernels/cuda_ptx_test.cpp holds the twins against
// its tables. With g = lane / 4 and q = lane % 4, a register of two bf16 holding the smaller index in its lower half:
//
//   A 16 x 16            k = 2q, 2q+1   2q+8, 2q+9      B 16 x 8   column g            C, D 16 x 8    columns 2q, 2q+1
//   row g                a[0]           a[2]            b[0]: rows 2q, 2q+1            row g          d[0], d[1]
//   row g + 8            a[1]           a[3]            b[1]: rows 2q+8, 2q+9          row g + 8      d[2], d[3]
//
// So two C tiles side by side, rounded to bf16, are an A fragment: {c0 c1, c2 c3} of the left, then of the right one.
#pragma once
#include "kernels/cuda/language.h"
#include "tensor/dtype.h"

#ifndef __CUDACC__
#include <bit>
#include <cmath>

#include "kernels/sim/async_copy.h"
#endif

namespace ov::ptx {

#ifdef __CUDACC__

__device__ inline unsigned shared_address(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }

// d += A B, all of them spread over the warp. Products in bf16, sums in f32.
__device__ inline void mma(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8 x 8 matrices of bf16: lane l names row l % 8 of matrix l / 8 (16 bytes, aligned), and gets in r[i] elements
// 2q and 2q + 1 of row g of matrix i; transposed: rows 2q and 2q + 1 of column g.
__device__ inline void ldmatrix(unsigned (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void ldmatrix_transposed(unsigned (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

// 16 bytes from global to shared memory, on their own; with `there` false zeros, and `from` is not read.
__device__ inline void copy_async(void* to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(there ? 16 : 0)
               : "memory");
}
__device__ inline void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until all but the newest n groups of this thread have landed; a barrier shows them to the others.
template <int n>
__device__ inline void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}

// 2^x within 2 units of the last place; 0 for -inf, and for what would be subnormal.
__device__ inline float exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Two numbers rounded to bf16, `low` in the lower half.
__device__ inline unsigned pack(float low, float high) {
  unsigned r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

#else  // the twins

namespace detail {
inline float half_of(unsigned r, int upper) { return std::bit_cast<float>(upper ? r & 0xffff0000u : r << 16); }
}  // namespace detail

// Adds k ascending, one rounding each; a GPU adds several products before it rounds, so its bits differ.
inline void mma(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  struct Lane {
    float* d;
    const unsigned* a;
    unsigned b[2];
  } mine{d, a, {b0, b1}};
  sim::warp_collective("mma.sync", 0xffffffffu, &mine, [](void* const lanes[sim::warp_lanes]) {
    float A[16][16], B[16][8], D[16][8];
    for (int l = 0; l < 32; ++l) {
      const Lane& x = *static_cast<Lane*>(lanes[l]);
      const int g = l / 4, q = l % 4;
      for (int i = 0; i < 2; ++i) {
        A[g][2 * q + i] = detail::half_of(x.a[0], i), A[g + 8][2 * q + i] = detail::half_of(x.a[1], i);
        A[g][2 * q + 8 + i] = detail::half_of(x.a[2], i), A[g + 8][2 * q + 8 + i] = detail::half_of(x.a[3], i);
        B[2 * q + i][g] = detail::half_of(x.b[0], i), B[2 * q + 8 + i][g] = detail::half_of(x.b[1], i);
        D[g][2 * q + i] = x.d[i], D[g + 8][2 * q + i] = x.d[2 + i];
      }
    }
    for (int m = 0; m < 16; ++m)
      for (int k = 0; k < 16; ++k)
        for (int n = 0; n < 8; ++n) D[m][n] = std::fma(A[m][k], B[k][n], D[m][n]);
    for (int l = 0; l < 32; ++l)
      for (int i = 0; i < 4; ++i) static_cast<Lane*>(lanes[l])->d[i] = D[l / 4 + i / 2 * 8][2 * (l % 4) + i % 2];
  });
}

namespace detail {
template <bool transposed>
void load_matrices(unsigned (&r)[4], const void* row) {
  if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0) sim::fault("ldmatrix: a row's address is not a multiple of 16");
  if (!sim::in_shared(row, 16)) sim::fault("ldmatrix: a row lies outside of a shared array");
  struct Lane {
    unsigned* r;
    const void* row;
  } mine{r, row};
  sim::warp_collective(transposed ? "ldmatrix.trans" : "ldmatrix", 0xffffffffu, &mine, [](void* const lanes[32]) {
    for (int i = 0; i < 4; ++i) {
      std::uint16_t matrix[8][8];
      for (int n = 0; n < 8; ++n) std::memcpy(matrix[n], static_cast<Lane*>(lanes[8 * i + n])->row, 16);
      for (int l = 0; l < 32; ++l) {
        const int g = l / 4, q = l % 4;
        const unsigned low = transposed ? matrix[2 * q][g] : matrix[g][2 * q];
        const unsigned high = transposed ? matrix[2 * q + 1][g] : matrix[g][2 * q + 1];
        static_cast<Lane*>(lanes[l])->r[i] = low | high << 16;
      }
    }
  });
}
}  // namespace detail
inline void ldmatrix(unsigned (&r)[4], const void* row) { detail::load_matrices<false>(r, row); }
inline void ldmatrix_transposed(unsigned (&r)[4], const void* row) { detail::load_matrices<true>(r, row); }

inline void copy_async(void* to, const void* from, bool there) { sim::copy_async(to, from, 16, there ? 16 : 0); }
inline void copy_async_commit() { sim::copy_async_commit(); }
template <int n>
void copy_async_wait() {
  sim::copy_async_wait(n);
}

inline float exp2(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0.f : y;  // as .ftz has it; a subnormal x gives 1 either way
}
inline unsigned pack(float low, float high) { return Bf16(low).bits | unsigned(Bf16(high).bits) << 16; }

#endif

}  // namespace ov::ptx
