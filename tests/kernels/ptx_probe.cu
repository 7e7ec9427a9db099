#include "tests/kernels/ptx_probe.h"

#include "kernels/cuda/ptx.h"
#include "kernels/cuda/ptx_barrier.h"

namespace ov::probe::OV_CUDA {
namespace {

// d = A B: A [16,16] by ldmatrix, B [16,16] by ldmatrix_transposed, both from in, rounded to bf16 by pack. One warp.
__global__ void matrices(float* d, float* powers, const float* in) {
  SHARED(unsigned, a, 16, 8);  // rows of 16 bf16
  SHARED(unsigned, b, 16, 8);
  const int l = threadIdx.x, row = l / 8 % 2 * 8 + l % 8, column = l / 16 * 4;
  for (int i = l; i < 128; i += 32) {
    a[i / 8][i % 8] = ptx::pack(in[2 * i], in[2 * i + 1]);
    b[i / 8][i % 8] = ptx::pack(in[256 + 2 * i], in[256 + 2 * i + 1]);
  }
  __syncthreads();
  unsigned left[4], right[4];
  ptx::ldmatrix(left, &a[row][column]);
  ptx::ldmatrix_transposed(right, &b[row][column]);
  UNROLL for (int half = 0; half < 2; ++half) {
    float c[4] = {};
    ptx::mma(c, left, right[2 * half], right[2 * half + 1]);
    UNROLL for (int i = 0; i < 4; ++i) d[(l / 4 + i / 2 * 8) * 16 + half * 8 + 2 * (l % 4) + i % 2] = c[i];
  }
  powers[l] = ptx::exp2(in[l] + static_cast<float>(l) / 32);
}

// Thread t adds up what its neighbour fetched, in two groups, the second of which is zeros for odd threads.
__global__ void groups(float* sum, const float* in) {
  SHARED(float, stage, 2, 64, 4);
  const int t = threadIdx.x, neighbour = (t + 1) % 64;
  for (int s = 0; s < 2; ++s) {
    ptx::copy_async(&stage[s][t][0], in + (s * 64 + t) * 4, s == 0 || t % 2 == 0);
    ptx::copy_async_commit();
  }
  ptx::copy_async_wait<1>();
  __syncthreads();
  float total = 0;
  for (int i = 0; i < 4; ++i) total += stage[0][neighbour][i];
  ptx::copy_async_wait<0>();
  __syncthreads();
  for (int i = 0; i < 4; ++i) total += stage[1][neighbour][i];
  sum[t] = total;
}

// 32 threads fetch five turns through two stages, 32 others add them up. Then all meet, half of them for the last time.
__global__ void barriers(float* sum, const float* in) {
  SHARED(float, stage, 2, 32, 4);
  SHARED(ptx::Mbarrier, full, 2);
  SHARED(ptx::Mbarrier, empty, 2);
  SHARED(ptx::Mbarrier, all, 1);
  SHARED(int, met, 1);
  const int t = threadIdx.x, lane = t % 32;
  if (t == 0) {
    for (int s = 0; s < 2; ++s) ptx::mbarrier_init(&full[s], 32), ptx::mbarrier_init(&empty[s], 32);
    ptx::mbarrier_init(&all[0], 64 + 2);
    met[0] = 0;
  }
  __syncthreads();
  float total = 0;
  for (int n = 0; n < 5; ++n) {
    const int s = n % 2, turn = n / 2;
    if (t < 32) {
      ptx::mbarrier_wait_parity(&empty[s], (turn + 1) % 2);  // at once in the first turn
      ptx::copy_async(&stage[s][lane][0], in + (n * 32 + lane) * 4, true);
      ptx::copy_async_arrive(&full[s]);
    } else {
      ptx::mbarrier_wait_parity(&full[s], turn % 2);
      for (int i = 0; i < 4; ++i) total += stage[s][(lane + 1) % 32][i];
      ptx::mbarrier_arrive(&empty[s]);
    }
  }
  if (t == 0) met[0] = 7, ptx::mbarrier_arrive_no_complete(&all[0], 2);
  ptx::mbarrier_wait(&all[0], ptx::mbarrier_arrive(&all[0]));
  total += static_cast<float>(met[0]);
  if (t == 0) ptx::mbarrier_arrive_no_complete(&all[0], 2);
  if (t >= 32) {
    ptx::mbarrier_arrive_drop(&all[0]);
  } else {
    ptx::mbarrier_wait(&all[0], ptx::mbarrier_arrive(&all[0]));
    if (t == 0) met[0] = 9, ptx::mbarrier_arrive_no_complete(&all[0], 2);  // 34 arrivals from here on
    ptx::mbarrier_wait(&all[0], ptx::mbarrier_arrive(&all[0]));
    total += static_cast<float>(met[0]);
  }
  __syncthreads();
  if (t == 0) ptx::mbarrier_inval(&all[0]);
  sum[t] = total;
}

}  // namespace

void run(const Tensor& y, const Tensor& x, gpu::Stream stream) {
  float* const out = y.device_data<float>();
  const float* const in = x.device_data<float>();
  launch(matrices, dim3(1), dim3(32), 0, stream, out, out + exact, in);
  launch(groups, dim3(1), dim3(64), 0, stream, out + 256, in);
  launch(barriers, dim3(1), dim3(64), 0, stream, out + 256 + 64, in);
}

}  // namespace ov::probe::OV_CUDA
