// The losses' sum over rows.
#pragma once
#include "kernels/cuda/reduce.h"

namespace ov::kernels::OV_CUDA {

// loss = Σ_n w_n l_n / D, 0 when D is 0: one block.
template <class A>
__global__ void mean_of_rows(A* loss, const A* weights, const A* of_row, std::int64_t N, A D) {
  const A total = row_sum<A>(N, [&](std::int64_t n) { return weights[n] * of_row[n]; });
  if (threadIdx.x == 0) loss[0] = D == 0 ? A(0) : total / D;
}
inline void weighted_mean(const Tensor& loss, const float* weights, const float* of_row, std::int64_t N,
                          double denominator, gpu::Stream stream) {
  launch(mean_of_rows<float>, dim3(1), dim3(row_threads(N)), 0, stream, loss.device_data<float>(), weights, of_row, N,
         float(denominator));
}

}  // namespace ov::kernels::OV_CUDA
