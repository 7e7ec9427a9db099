// Planted mistakes: each must be found, and the machine must be usable afterwards.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "base/sanitizer.h"
#include "kernels/cuda/language.h"
#include "kernels/sim/capability.h"
#include "tests/check.h"
#include "tests/kernels/fault_of.h"
#include "tests/kernels/sim_schedules.h"

using namespace ov;
using namespace ov::test;
using ov::sim::fault_of;
using ov::sim::Order;
using ov::sim::ScheduleScope;

namespace {

__global__ void shift(int* y, int with_barrier) {
  SHARED(int, s, 64);
  const int i = threadIdx.x;
  s[i] = i + 1;
  if (with_barrier) __syncthreads();
  y[i] = i ? s[i - 1] : 0;
}

// The barrier between two uses of one buffer is the one that is forgotten most easily.
__global__ void running_total(int* y, int with_barrier) {
  SHARED(int, s, 64);
  const int i = threadIdx.x;
  int total = 0;
  for (int turn = 0; turn < 3; ++turn) {
    s[i] = i * (turn + 1);
    __syncthreads();
    total += s[(i + 33) % 64];
    if (with_barrier) __syncthreads();
  }
  y[i] = total;
}

// Lanes of one warp do not move together either.
__global__ void next_lane(int* y, int with_barrier) {
  SHARED(int, s, 64);
  const int i = threadIdx.x;
  s[i] = i + 1;
  if (with_barrier) __syncwarp();
  y[i] = s[i ^ 1];
}

// Row i % rows of y gets the number of its block: two blocks share a row when there are more of them.
__global__ void own_row(int* y, int rows) { y[static_cast<int>(blockIdx.x) % rows] = static_cast<int>(blockIdx.x); }

__global__ void index_past_the_end(int extra) {
  SHARED(int, s, 4, 16);
  s[threadIdx.x / 16][int(threadIdx.x % 16) + extra] = 1;
}
__global__ void row_past_the_end(int extra) {
  SHARED(int, s, 4, 16);
  s[threadIdx.x / 16 + extra][threadIdx.x % 16] = 1;
}
__global__ void dynamic_past_the_end(int extra) {
  DYN_SHARED(int, s);
  s[threadIdx.x + extra] = 1;
}
__global__ void pointer_past_the_end(int extra) {
  SHARED(int, s, 64);
  int* p = &s[0];
  p[int(threadIdx.x) + extra] = 1;
}

[[maybe_unused]] __global__ void global_past_the_end(int* y, int extra) {
  y[static_cast<int>(threadIdx.x) + extra] = 1;
}

__global__ void two_barriers(int split) {
  if (static_cast<int>(threadIdx.x) < split) __syncthreads();
  else __syncthreads();
}
__global__ void barrier_against_collective(int split, int* y) {
  if (static_cast<int>(threadIdx.x) < split) __syncthreads();
  else y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1, 1);
}
__global__ void mask_without_caller(unsigned mask, int* y) { y[threadIdx.x] = __shfl_sync(mask, 1, 0); }
__global__ void masks_that_differ(unsigned low_half, int* y) {
  y[threadIdx.x] = __shfl_xor_sync(threadIdx.x < 16 ? low_half : 0xffffffffu, 1, 1);
  __syncwarp();
}
__global__ void mask_of_absent_lanes(float* y) { y[threadIdx.x] = __shfl_sync(0xffffffffu, 1.f, 20); }
__global__ void too_much_shared(int* y) {
  SHARED(float, s, 12289);
  s[threadIdx.x] = 1;
  y[threadIdx.x] = 1;
}
__global__ void nothing() {}
__global__ void launches() { launch(nothing, dim3{1}, dim3{1}, 0, nullptr); }

const std::string of_64 = "; grid 1 1 1, block 64 1 1, 0 bytes of shared memory";  // what it ends with

std::vector<std::vector<int>> results_of(void (*kernel)(int*, int), int with_barrier) {
  std::vector<std::vector<int>> results;
  sim::for_each_schedule([&] {
    std::vector<int> y(64);
    launch(kernel, dim3{1}, dim3{64}, 0, nullptr, y.data(), with_barrier);
    results.push_back(y);
  });
  return results;
}

bool all_equal(const std::vector<std::vector<int>>& r) { return r == std::vector<std::vector<int>>(r.size(), r[0]); }

}  // namespace

TEST_CASE("sim: a missing __syncthreads shows as results that depend on the thread order (G-26)") {
  CHECK(all_equal(results_of(shift, 1)));
  CHECK_FALSE(all_equal(results_of(shift, 0)));
  CHECK(all_equal(results_of(running_total, 1)));
  CHECK_FALSE(all_equal(results_of(running_total, 0)));
}

TEST_CASE("sim: a missing __syncwarp between lanes of one warp shows as well (G-27)") {
  CHECK(all_equal(results_of(next_lane, 1)));
  CHECK_FALSE(all_equal(results_of(next_lane, 0)));
}

TEST_CASE("sim: two blocks that write one row show as results that depend on the order of blocks (G-34)") {
  for (const int rows : {8, 4}) {
    std::vector<std::vector<int>> results;
    sim::for_each_schedule([&] {
      results.emplace_back(8);
      launch(own_row, dim3{8}, dim3{1}, 0, nullptr, results.back().data(), rows);
    });
    CHECK(all_equal(results) == (rows == 8));
  }
}

TEST_CASE("sim: an index outside of shared memory is a fault that names the array and the thread") {
  CHECK(fault_of(index_past_the_end, dim3{1}, dim3{64}, 0, nullptr, 0) == "");
  CHECK(fault_of(index_past_the_end, dim3{1}, dim3{64}, 0, nullptr, 1) ==
        "block (0,0,0) thread 15: shared array of 16 indexed with 16" + of_64);
  CHECK(fault_of(index_past_the_end, dim3{1}, dim3{64}, 0, nullptr, -1) ==
        "block (0,0,0) thread 0: shared array of 16 indexed with -1" + of_64);
  CHECK(fault_of(row_past_the_end, dim3{1}, dim3{64}, 0, nullptr, 1) ==
        "block (0,0,0) thread 48: shared array of 4 rows indexed with 4" + of_64);
  CHECK(fault_of(dynamic_past_the_end, dim3{1}, dim3{64}, 256, nullptr, 0) == "");
  CHECK(contains(fault_of(dynamic_past_the_end, dim3{1}, dim3{64}, 256, nullptr, 1),
                 "thread 63: dynamic shared memory of 64"));
}

TEST_CASE("sim: a write through a pointer just outside of a shared array is a fault") {
  CHECK(fault_of(pointer_past_the_end, dim3{1}, dim3{64}, 0, nullptr, 0) == "");
  CHECK(fault_of(pointer_past_the_end, dim3{1}, dim3{64}, 0, nullptr, 1) ==
        "block (0,0,0): a write just outside a shared array" + of_64);
  CHECK(contains(fault_of(pointer_past_the_end, dim3{1}, dim3{64}, 0, nullptr, -1), "a write just outside"));
}

TEST_CASE("sim: a divergent barrier is a fault that names both places (G-25)") {
  sim::for_each_schedule([] {
    CHECK(fault_of(two_barriers, dim3{1}, dim3{64}, 0, nullptr, 64) == "");
    const std::string message = fault_of(two_barriers, dim3{1}, dim3{64}, 0, nullptr, 10);
    CHECK(contains(message, "divergent barrier: threads 0-9 wait at __syncthreads at "));
    CHECK(contains(message, "; threads 10-63 wait at __syncthreads at "));
    CHECK(contains(message, "sim_faults_test.cpp:"));
  });
}

TEST_CASE("sim: threads that wait for each other for ever are a fault that says who waits where") {
  sim::for_each_schedule([] {
    std::vector<int> y(64);
    CHECK(fault_of(barrier_against_collective, dim3{1}, dim3{64}, 0, nullptr, 32, y.data()) == "");
    const std::string message = fault_of(barrier_against_collective, dim3{1}, dim3{64}, 0, nullptr, 16, y.data());
    CHECK(contains(message, "no thread can go on: threads 0-15 wait at __syncthreads"));
    CHECK(contains(message, "threads 16-31 wait at __shfl_xor_sync with mask 0xffffffff"));
  });
}

TEST_CASE("sim: a collective with a wrong mask is a fault") {
  sim::for_each_schedule([] {
    std::vector<int> y(32);
    CHECK(fault_of(mask_without_caller, dim3{1}, dim3{32}, 0, nullptr, 0xffffffffu, y.data()) == "");
    CHECK(contains(fault_of(mask_without_caller, dim3{1}, dim3{32}, 0, nullptr, 0xfffffffeu, y.data()),
                   "thread 0: __shfl_sync: mask 0xfffffffe leaves the calling lane out"));
    CHECK(fault_of(masks_that_differ, dim3{1}, dim3{32}, 0, nullptr, 0xffffffffu, y.data()) == "");
    CHECK(contains(
        fault_of(masks_that_differ, dim3{1}, dim3{32}, 0, nullptr, 0x0000ffffu, y.data()),
        "threads 0-15 wait at __syncwarp with mask 0xffffffff; threads 16-31 wait at __shfl_xor_sync with mask "
        "0xffffffff"));
  });
}

TEST_CASE("sim: a value taken from a lane that does not exist is NaN (G-33)") {
  std::vector<float> y(16);
  launch(mask_of_absent_lanes, dim3{1}, dim3{16}, 0, nullptr, y.data());
  for (float v : y) CHECK(v != v);
}

#if OV_ADDRESS_SANITIZER
TEST_CASE("sim: the address sanitizer sees a kernel write past the end of global memory") {
  const auto exit_status = [](int extra) {
    const pid_t child = fork();
    if (child == 0) {
      if (!std::freopen("/dev/null", "w", stderr)) _exit(0);
      std::vector<int> y(64);
      launch(global_past_the_end, dim3{1}, dim3{64}, 0, nullptr, y.data(), extra);
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  CHECK(exit_status(0) == 0);
  CHECK(exit_status(1) != 0);
}
#endif

TEST_CASE("sim: a launch that no GPU takes is refused (G-15, G-16)") {
  std::vector<int> y(64);
  CHECK(contains(fault_of(nothing, dim3{0}, dim3{32}, 0, nullptr), "an empty grid or block"));
  CHECK(contains(fault_of(nothing, dim3{1}, dim3{1025}, 0, nullptr), "beyond 1024 threads"));
  CHECK(contains(fault_of(nothing, dim3{1, 65536}, dim3{1}, 0, nullptr), "grid beyond"));
  CHECK(contains(fault_of(too_much_shared, dim3{1}, dim3{64}, 0, nullptr, y.data()), "more shared memory"));
  CHECK(contains(fault_of(launches, dim3{1}, dim3{1}, 0, nullptr), "a kernel launches a kernel"));
  CHECK(fault_of(nothing, dim3{1}, dim3{1024}, 232448, nullptr) == "");
}

TEST_CASE("sim: a block has the shared memory of its GPU's generation, and no more (G-15, G-16)") {
  // CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".
  for (const auto& [major, minor, kilobytes] :
       {std::tuple{8, 0, 163u}, {8, 6, 99u}, {8, 9, 99u}, {9, 0, 227u}, {10, 0, 227u}}) {
    const sim::CapabilityScope scope({major, minor});
    const std::string limit = cat(kilobytes, " KB of shared memory (compute capability ", major, ".", minor, ")");
    const std::size_t bytes = kilobytes * std::size_t{1024};
    std::vector<int> y(64);
    CHECK(fault_of(nothing, dim3{1}, dim3{1}, bytes, nullptr) == "");
    CHECK(contains(fault_of(nothing, dim3{1}, dim3{1}, bytes + 1, nullptr), "launch: more than " + limit));
    // 256 bytes that the kernel declares count too.
    CHECK(fault_of(shift, dim3{1}, dim3{64}, bytes - 256, nullptr, y.data(), 1) == "");
    CHECK(contains(fault_of(shift, dim3{1}, dim3{64}, bytes - 255, nullptr, y.data(), 1),
                   "more shared memory than a block has: 49152 bytes declared, in all " + limit));
  }
  CHECK(contains(fault_of(nothing, dim3{1}, dim3{1}, 232449, nullptr), "227 KB"));  // of 9.0 again
}
