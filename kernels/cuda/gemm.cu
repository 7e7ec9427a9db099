// C (+)= op(A) op(B) (+ bias): which product runs (kernels/gemm.h).
//
//   y = x wᵀ for generation     kernels/cuda/gemm_chunk.cu: bits that do not depend on the number of rows
//   y = x wᵀ, at most 16 rows   kernels/cuda/gemm_rows.cu: nor do these
//   else                        cuBLASLt (kernels/gpu/cublaslt.h)
//
// What the library does not do is here: a product whose sum has no terms, and a bias brought to c's type and to a
// multiple of 16 bytes, which the library's epilogue asks for.
//
//   c_mn = (c_mn +) bias_n      c    | c_00 | c_01 | ... | c_0N | c_10 | ...     one thread a number, 256 a block
//   to_n = bias_n               bias | b_0  | b_1  | ...                         likewise
//
// Small or seldom, so single numbers. Bytes an element of c: size(c), when it is added to 2 size(c); of a bias
// size(bias) + size(c). One FLOP at most.
#include "kernels/gemm.h"

#include "kernels/cuda/gemm_rows.h"
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/rows.h"
#include "kernels/gpu/cublaslt.h"
#include "kernels/gpu/scratch.h"

namespace ov::kernels::OV_CUDA {
namespace {

constexpr unsigned threads = 256;

// A thread an element of c, 0 or what it holds, plus the bias.
template <class T, class C>
__global__ void without_terms(DeviceRows<C> c, const T* bias, std::int64_t M, std::int64_t N, bool accumulate) {
  const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= M * N) return;
  C& to = c[i / N][i % N];
  const float sum = accumulate ? float(to) : 0.f;
  to = C(bias ? sum + float(bias[i % N]) : sum);
}

template <class T, class C>
__global__ void converted(C* to, const T* from, std::int64_t n) {
  const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) to[i] = C(float(from[i]));
}

// Calls f with the element types of a (and bias) and of c.
template <class F>
void by_types(const Gemm& g, F&& f) {
  by_cuda_dtype(g.a.dtype(), [&](auto t) { g.c.dtype() == g.a.dtype() ? f(t, t) : f(t, float{}); });
}

}  // namespace

void gemm(const Gemm& g, gpu::Stream stream) {
  const auto [M, N] = g.c.dims<2>();
  const Product product = product_of(g);
  if (product == Product::none) return;
  if (product == Product::of_chunk) return gemm_of_chunk(g, stream);
  if (product == Product::of_rows) return gemm_of_rows(g, stream);
  if (product == Product::without_terms)
    return by_types(g, [&, M = M, N = N](auto t, auto c) {
      using T = decltype(t);
      using C = decltype(c);
      launch(without_terms<T, C>, dim3(ceil_div(M * N, threads)), dim3(threads), 0, stream, rows_of<C>(g.c),
             g.bias ? g.bias.device_data<T>() : nullptr, M, N, g.accumulate);
    });

  Gemm with = g;
  if (const Tensor bias = scratch_of(g)) {
    with.bias = bias;
    by_types(g, [&, N = N](auto t, auto c) {
      using C = decltype(c);
      launch(converted<decltype(t), C>, dim3(ceil_div(N, threads)), dim3(threads), 0, stream, bias.device_data<C>(),
             g.bias.device_data<decltype(t)>(), N);
    });
  }
  gpu::cublaslt(g.c.device()).product(with, stream);
}

}  // namespace ov::kernels::OV_CUDA
