// The language that kernels/sim gives to a kernel: indices, barriers, collectives, shared memory.
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include "base/math.h"
#include "kernels/cuda/language.h"
#include "tests/kernels/sim_schedules.h"

using namespace ov;
using ov::sim::for_each_schedule;

namespace {

__global__ void count_visits(int* visits) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  visits[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1;
}

__global__ void reverse_block(int* x) {
  DYN_SHARED(int, tile);
  const int i = threadIdx.x, n = blockDim.x;
  tile[i] = x[i];
  __syncthreads();
  x[i] = tile[n - 1 - i];
}

__global__ void transpose(float* y, const float* x) {
  SHARED(float, tile, 8, 9);
  tile[threadIdx.y][threadIdx.x] = x[threadIdx.y * 8 + threadIdx.x];
  __syncthreads();
  y[threadIdx.y * 8 + threadIdx.x] = tile[threadIdx.x][threadIdx.y];
}

__global__ void shuffles(int* broadcast, int* down, int* exchanged) {
  const int i = threadIdx.x;
  broadcast[i] = __shfl_sync(0xffffffffu, i, 5, 16);
  down[i] = __shfl_down_sync(0xffffffffu, i, 3, 8);
  exchanged[i] = __shfl_xor_sync(0xffffffffu, i, 1);
}

__global__ void halves_of_a_warp(int* sum) {
  int v = threadIdx.x;
  const bool low = v < 16;
  const unsigned mask = low ? 0x0000ffffu : 0xffff0000u;
  for (int turn = 0; turn < (low ? 3 : 1); ++turn)
    for (int step = 8; step; step /= 2) v += __shfl_xor_sync(mask, v, step, 16);
  sum[threadIdx.x] = v;
}

__global__ void early_return(int* out, int live) {
  SHARED(int, first, 1);
  if (static_cast<int>(threadIdx.x) >= live) return;
  if (threadIdx.x == 0) first[0] = 7;
  __syncthreads();
  out[threadIdx.x] = first[0] + __shfl_sync(0xffffffffu, 1, 0);
}

__global__ void read_unwritten(float* declared, float* dynamic, int write) {
  SHARED(float, a, 64);
  DYN_SHARED(float, b);
  if (write) a[threadIdx.x] = b[threadIdx.x] = 1;
  declared[blockIdx.x * blockDim.x + threadIdx.x] = a[threadIdx.x];
  dynamic[blockIdx.x * blockDim.x + threadIdx.x] = b[threadIdx.x];
}

__global__ void math_functions(float* y, const float* x, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float* of_x = y + 6 * i;
  of_x[0] = math::exp(x[i]);
  of_x[1] = math::log(x[i]);
  of_x[2] = math::erf(x[i]);
  of_x[3] = math::tanh(x[i]);
  of_x[4] = math::sin(x[i]);
  of_x[5] = math::cos(x[i]);
}

}  // namespace

TEST_CASE("sim: every thread of every block runs exactly once, in three dimensions") {
  for_each_schedule([] {
    const dim3 grid{3, 2, 2}, block{5, 3, 2};
    std::vector<int> visits(grid.count() * block.count());
    launch(count_visits, grid, block, 0, nullptr, visits.data());
    CHECK(visits == std::vector<int>(visits.size(), 1));
  });
}

TEST_CASE("sim: a barrier lets every thread see what the others wrote to shared memory") {
  for (int n : {1, 31, 32, 33, 257, 1024})
    for_each_schedule([&] {
      std::vector<int> x(n), expected(n);
      std::iota(x.begin(), x.end(), 0);
      std::iota(expected.rbegin(), expected.rend(), 0);
      launch(reverse_block, dim3{1}, dim3(n), n * sizeof(int), nullptr, x.data());
      CHECK(x == expected);
    });
  for_each_schedule([] {
    std::vector<float> x(64), y(64);
    std::iota(x.begin(), x.end(), 0.f);
    launch(transpose, dim3{1}, dim3{8, 8}, 0, nullptr, y.data(), x.data());
    for (int i = 0; i < 64; ++i) CHECK(y[i] == x[i % 8 * 8 + i / 8]);
  });
}

TEST_CASE("sim: shuffles take the value of the lane that CUDA takes it from") {
  for_each_schedule([] {
    std::vector<int> broadcast(64), down(64), exchanged(64);
    launch(shuffles, dim3{1}, dim3{64}, 0, nullptr, broadcast.data(), down.data(), exchanged.data());
    for (int i = 0; i < 64; ++i) {
      const int lane = i % 32, warp = i - lane;
      CHECK(broadcast[i] == warp + lane / 16 * 16 + 5);
      CHECK(down[i] == (lane % 8 + 3 < 8 ? i + 3 : i));
      CHECK(exchanged[i] == (i ^ 1));
    }
  });
}

TEST_CASE("sim: the halves of a warp go their own ways under their own masks") {
  for_each_schedule([] {
    std::vector<int> sum(32);
    launch(halves_of_a_warp, dim3{1}, dim3{32}, 0, nullptr, sum.data());
    for (int i = 0; i < 32; ++i) CHECK(sum[i] == (i < 16 ? 120 * 16 * 16 : 120 + 256));
  });
}

TEST_CASE("sim: threads that have returned hold up neither a barrier nor a collective (G-33)") {
  for_each_schedule([] {
    std::vector<int> out(70);
    launch(early_return, dim3{1}, dim3{70}, 0, nullptr, out.data(), 41);
    for (int i = 0; i < 70; ++i) CHECK(out[i] == (i < 41 ? 8 : 0));
  });
}

TEST_CASE("sim: shared memory that was not written reads as NaN, in every block anew") {
  std::vector<float> declared(128), dynamic(128);
  launch(read_unwritten, dim3{2}, dim3{64}, 64 * sizeof(float), nullptr, declared.data(), dynamic.data(), 1);
  CHECK(declared == std::vector<float>(128, 1.f));
  CHECK(dynamic == std::vector<float>(128, 1.f));
  launch(read_unwritten, dim3{2}, dim3{64}, 64 * sizeof(float), nullptr, declared.data(), dynamic.data(), 0);
  for (int i = 0; i < 128; ++i) {
    CHECK(std::isnan(declared[i]));
    CHECK(std::isnan(dynamic[i]));
  }
}

TEST_CASE("sim: the functions of base/math.h give a kernel the bits they give the host (G-54)") {
  std::vector<float> x = {0.f, -0.f, 1.f, -1.f, 1e-40f, -3e38f, 3e38f, 88.7f, -103.9f, INFINITY, -INFINITY, NAN};
  for (std::uint32_t b = 1; b < 0xff000000u; b += 0x00f1e2d3u) x.push_back(std::bit_cast<float>(b));
  std::vector<float> y(6 * x.size());
  launch(math_functions, dim3(static_cast<unsigned>(x.size() + 63) / 64), dim3{64}, 0, nullptr, y.data(), x.data(),
         static_cast<int>(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float host[6] = {math::exp(x[i]),  math::log(x[i]), math::erf(x[i]),
                           math::tanh(x[i]), math::sin(x[i]), math::cos(x[i])};
    for (int f = 0; f < 6; ++f) {
      CAPTURE(x[i]);
      CAPTURE(f);
      const bool both_nan = std::isnan(host[f]) && std::isnan(y[6 * i + f]);
      CHECK((both_nan || std::bit_cast<std::uint32_t>(host[f]) == std::bit_cast<std::uint32_t>(y[6 * i + f])));
    }
  }
}
