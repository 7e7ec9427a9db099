// The tables of rotary angles (kernels/rope.h), with sin and cos of base/math.h: the CPU's bits.
//
//   1d  angle_tk = p_t ω_k
//   2d  angle_tk = row_t ω_k (k < F), column_t ω_{k-F}; the learned angles where row_t < 0
//       dclass_angles_k += Σ_{t: row_t < 0} dsin cos - dcos sin, in order of t
//
//   tables     cos, sin  row t | k = 0 | k = 1 | ... | k = R-1 |   one thread an angle (kernels/cuda/elementwise.h)
//   gradient   one thread a column k; a block looks at 128 rows at once and then adds those of class tokens:
//
//                row_t   0 1 -1 2 ...     128 threads fetch 128 rows' flags
//                            ^            then each adds row 2 to its column
//
// 8 bytes written an angle and about 40 f64 FLOPs; made once a batch, for all layers: 4 MB, where sin and cos take the
// time, so an angle a thread and single numbers. The gradient reads 16 bytes a row and the few rows of class tokens.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launchers.h"
#include "kernels/rope.h"

namespace ov::kernels::OV_CUDA {
namespace {

template <class T>
struct Table1d {
  DeviceRows<T> cos, sin;
  const std::int64_t* positions;
  const float* inv_freq;
  template <int>
  __device__ void at(std::int64_t t, std::int64_t k) const {
    const float angle = float(positions[t]) * inv_freq[k];
    cos[t][k] = T(math::cos(angle));
    sin[t][k] = T(math::sin(angle));
  }
};

template <class T>
struct Table2d {
  DeviceRows<float> cos, sin;
  DeviceRows<std::int64_t> positions;
  const float* inv_freq;
  const T* class_angles;
  std::int64_t F;
  template <int>
  __device__ void at(std::int64_t t, std::int64_t k) const {
    const std::int64_t* place = positions[t];
    const bool column = k >= F;
    const float angle = place[0] < 0 ? float(class_angles[k]) : float(place[column]) * inv_freq[column ? k - F : k];
    cos[t][k] = math::cos(angle);
    sin[t][k] = math::sin(angle);
  }
};

constexpr int gradient_threads = 128;

template <class T>
__global__ void class_gradient(float* dclass, DeviceRows<T> dcos, DeviceRows<T> dsin, DeviceRows<T> cos,
                               DeviceRows<T> sin, DeviceRows<std::int64_t> positions, std::int64_t L, std::int64_t R) {
  SHARED(int, is_class, gradient_threads);
  const std::int64_t k = std::int64_t(blockIdx.x) * gradient_threads + threadIdx.x;
  float sum = k < R ? dclass[k] : 0.f;
  for (std::int64_t begin = 0; begin < L; begin += gradient_threads) {
    const std::int64_t t = begin + threadIdx.x;
    is_class[threadIdx.x] = t < L && positions[t][0] < 0;
    __syncthreads();
    for (int i = 0; i < gradient_threads; ++i) {
      const std::int64_t row = begin + i;
      if (is_class[i] && k < R)
        sum += float(dsin[row][k]) * float(cos[row][k]) - float(dcos[row][k]) * float(sin[row][k]);
    }
    __syncthreads();  // before the next rows overwrite these
  }
  if (k < R) dclass[k] = sum;
}

}  // namespace

void rope_table_1d(const RopeTable1d& a, gpu::Stream stream) {
  const auto [L, R] = a.cos.dims<2>();
  by_cuda_dtype(a.cos.dtype(), [&, L = L, R = R](auto t) {
    using T = decltype(t);
    const auto cos = rows_of<T>(a.cos), sin = rows_of<T>(a.sin);
    for_each_packet<1>(Table1d<T>{cos, sin, a.positions.device_data<std::int64_t>(), a.inv_freq.device_data<float>()},
                       L, R, stream, cos, sin);
  });
}

void rope_table_2d_forward(const RopeTable2dForward& a, gpu::Stream stream) {
  const auto [L, R] = a.cos.dims<2>();
  by_cuda_dtype(a.class_angles.dtype(), [&, L = L, R = R](auto t) {
    using T = decltype(t);
    const auto cos = rows_of<float>(a.cos), sin = rows_of<float>(a.sin);
    for_each_packet<1>(Table2d<T>{cos, sin, rows_of<std::int64_t>(a.positions), a.inv_freq.device_data<float>(),
                                  a.class_angles.device_data<T>(), R / 2},
                       L, R, stream, cos, sin);
  });
}

void rope_table_2d_backward(const RopeTable2dBackward& a, gpu::Stream stream) {
  const auto [L, R] = a.cos.dims<2>();
  if (R == 0) return;
  by_cuda_dtype(a.cos.dtype(), [&, L = L, R = R](auto t) {
    using T = decltype(t);
    launch(class_gradient<T>, dim3(ceil_div(R, gradient_threads)), dim3(gradient_threads), 0, stream,
           a.dclass_angles.device_data<float>(), rows_of<T>(a.dcos), rows_of<T>(a.dsin), rows_of<T>(a.cos),
           rows_of<T>(a.sin), rows_of<std::int64_t>(a.positions), L, R);
  });
}

}  // namespace ov::kernels::OV_CUDA
