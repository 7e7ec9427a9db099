// Matrix product on the CPU, f32 and f64; bf16 is widened to f32.
//
// The order of every sum is part of the contract. For one element of C:
//
//   s_p = fma(a_k, b_k, ... fma(a_1, b_1, fma(a_0, b_0, 0)))    over the k of block p; a block is 384 consecutive k
//   c   = ((s_0 + s_1) + s_2) ...                               or ((c + s_0) + s_1) ... when accumulating
//   c   = c + bias                                              last, if there is one
//
// Nothing in it depends on M, N, the element's place, the number of threads or the width of a vector register.
// NaN and infinity propagate; K = 0 gives zero (plus bias), or leaves C as it was when accumulating.
#pragma once
#include <cstdint>

#include "kernels/gemm.h"

namespace ov::kernels::cpu {

constexpr std::int64_t gemm_block_k = 384;

// A(m,k) = a[m a_row + k a_col], B(k,n) = b[k b_row + n b_col], C(m,n) = c[m c_row + n]; strides in elements, so a
// transpose is a choice of strides. At least one stride of A and of B should be 1: others work and are slow.
template <class T>
struct Product {
  std::int64_t M, N, K;
  const T* a;
  std::int64_t a_row, a_col;
  const T* b;
  std::int64_t b_row, b_col;
  T* c;
  std::int64_t c_row;
  bool accumulate = false;
  const T* bias = nullptr;
};

// On the calling thread; allocates nothing but scratch that the thread keeps (at most 6 MB f32, 11 MB f64).
template <class T>
void gemm_serial(const Product<T>& p);

// The same bits, shared between the threads where that pays.
template <class T>
void gemm_parallel(const Product<T>& p);

// For use inside a kernel that is parallel itself (attention).
template <class T>
void gemm_serial(std::int64_t M, std::int64_t N, std::int64_t K, const T* a, std::int64_t a_row, std::int64_t a_col,
                 const T* b, std::int64_t b_row, std::int64_t b_col, T* c, std::int64_t c_row, bool accumulate) {
  gemm_serial(Product<T>{.M = M,
                         .N = N,
                         .K = K,
                         .a = a,
                         .a_row = a_row,
                         .a_col = a_col,
                         .b = b,
                         .b_row = b_row,
                         .b_col = b_col,
                         .c = c,
                         .c_row = c_row,
                         .accumulate = accumulate});
}

extern template void gemm_serial(const Product<float>&);
extern template void gemm_serial(const Product<double>&);
extern template void gemm_parallel(const Product<float>&);
extern template void gemm_parallel(const Product<double>&);

// The entry of the CPU's kernel table; shapes and types were checked at the door (kernels/gemm.cpp). Throws input_error
// for rows that are not equally far apart.
void gemm(const Gemm&);

}  // namespace ov::kernels::cpu
