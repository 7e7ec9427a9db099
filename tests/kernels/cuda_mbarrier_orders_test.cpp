// When copies land that arrive at an mbarrier on their own, and where another thread may come next: both ends of what
// a GPU may do (kernels/sim/mbarrier.h), or a kernel that forgets to wait would pass.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "kernels/cuda/ptx_barrier.h"
#include "tests/check.h"
#include "tests/kernels/fault_of.h"

using namespace ov;
using ov::sim::fault_of;
using ov::sim::Order;
using ov::sim::ScheduleScope;
using ov::test::contains;
using ptx::Mbarrier;

namespace {

template <class... A>
std::string fault_in(Order order, A&&... a) {
  const ScheduleScope scope({order});
  return fault_of(std::forward<A>(a)...);
}

// Thread 0 waits for the second copy only; of the first object the phase before has ended, and been waited for.
__global__ void unawaited(float* seen, const float* from) {
  SHARED(float, stage, 3, 4);
  SHARED(Mbarrier, b, 2);
  const int t = threadIdx.x;
  if (t < 2) ptx::mbarrier_init(&b[t], 1);
  __syncthreads();
  if (t == 0) {
    ptx::copy_async(&stage[0][0], from, true), ptx::copy_async_arrive(&b[0]);
    ptx::mbarrier_wait_parity(&b[0], 0);
    ptx::copy_async(&stage[1][0], from + 4, true), ptx::copy_async_arrive(&b[0]);
  }
  __syncthreads();
  if (t == 1) {
    ptx::copy_async(&stage[2][0], from + 8, true), ptx::copy_async_arrive(&b[1]);
    return;
  }
  ptx::mbarrier_wait_parity(&b[1], 0);
  for (int s = 0; s < 3; ++s) seen[s] = stage[s][0];
}

// What stands there before any wait, and after one for something else.
__global__ void around_a_wait(float* seen, const float* from) {
  SHARED(float, stage, 4);
  SHARED(Mbarrier, b, 2);
  for (int i = 0; i < 2; ++i) ptx::mbarrier_init(&b[i], 1);
  ptx::copy_async(&stage[0], from, true), ptx::copy_async_arrive(&b[0]);
  seen[0] = stage[0];
  ptx::mbarrier_wait_parity(&b[1], 1);
  seen[1] = stage[0];
}

// Each thread writes down its number, waits for what has ended (by the state or by parity), and writes it down again.
__global__ void turns(int* said, int* count, bool by_state) {
  SHARED(Mbarrier, b, 2);
  const int t = threadIdx.x;
  ptx::mbarrier_init(&b[t], 1);
  const std::uint64_t state = ptx::mbarrier_arrive(&b[t]);
  said[(*count)++] = t;
  if (by_state) ptx::mbarrier_wait(&b[t], state);
  else ptx::mbarrier_wait_parity(&b[t], 0);
  said[(*count)++] = t;
}

__global__ void arrives_at_nobody(const float* from) {
  SHARED(float, stage, 4);
  SHARED(Mbarrier, b, 1);
  ptx::mbarrier_init(&b[0], 1);
  ptx::mbarrier_arrive_drop(&b[0]);
  ptx::copy_async(&stage[0], from, true), ptx::copy_async_arrive(&b[0]);
}

__global__ void waits_for_what_ends() {
  SHARED(Mbarrier, b, 1);
  if (threadIdx.x == 0) ptx::mbarrier_init(&b[0], 1);
  __syncthreads();
  if (threadIdx.x == 0) ptx::mbarrier_wait_parity(&b[0], 0);
  else ptx::mbarrier_inval(&b[0]);
}

// The second object of two that a copy of 16 bytes covers lives, or has ended.
__global__ void copies_over_the_second(const float* from, bool ended) {
  SHARED(Mbarrier, two, 2);
  ptx::mbarrier_init(&two[1], 1);
  if (ended) ptx::mbarrier_inval(&two[1]);
  ptx::copy_async(&two[0], from, true);
}

__global__ void half_outside() {
  SHARED(std::uint32_t, raw, 3);
  ptx::mbarrier_init(reinterpret_cast<Mbarrier*>(&raw[2]), 1);
}

alignas(16) const float from[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

}  // namespace

TEST_CASE("mbarrier: forward, copies land only for an object that is waited for now; in reverse at once") {
  std::vector<float> seen(3);
  CHECK(fault_in(Order::forward, unawaited, dim3(1), dim3(2), 0, nullptr, seen.data(), from) == "");
  CHECK(seen[0] == 1);
  CHECK(std::isnan(seen[1]));
  CHECK(seen[2] == 9);
  CHECK(fault_in(Order::reverse, unawaited, dim3(1), dim3(2), 0, nullptr, seen.data(), from) == "");
  CHECK(seen == std::vector<float>{1, 5, 9});
}

TEST_CASE("mbarrier: in random orders copies may land at a wait for something else, and need not") {
  bool landed = false, had_not = false;
  for (std::uint64_t seed = 1; seed <= 64; ++seed) {
    const ScheduleScope scope({Order::random, seed});
    std::vector<float> seen(2);
    launch(around_a_wait, dim3(1), dim3(1), 0, nullptr, seen.data(), from);
    landed |= std::isnan(seen[0]) && seen[1] == 1;
    had_not |= std::isnan(seen[1]);
  }
  CHECK(landed);
  CHECK(had_not);
}

TEST_CASE("mbarrier: another thread may come next at a wait, even where the phase has ended") {
  for (const bool by_state : {true, false}) {
    int cut = 0;
    for (std::uint64_t seed = 1; seed <= 64; ++seed) {
      const ScheduleScope scope({Order::random, seed});
      std::vector<int> said(4);
      int count = 0;
      launch(turns, dim3(1), dim3(2), 0, nullptr, said.data(), &count, by_state);
      cut += said[0] != said[1];
    }
    CHECK(cut > 0);
    CHECK(cut < 64);
  }
}

TEST_CASE(
    "mbarrier: copies that arrive where nobody is expected, waiting for an object that ends, objects partly "
    "covered or outside") {
  CHECK(contains(fault_in(Order::reverse, arrives_at_nobody, dim3(1), dim3(1), 0, nullptr, from),
                 "the copies of thread 0 arrive at the mbarrier of "));
  const std::string ends = fault_in(Order::forward, waits_for_what_ends, dim3(1), dim3(2), 0, nullptr);
  CHECK(contains(ends, "no thread can go on: threads 0-0 wait at mbarrier.test_wait at "));
  CHECK(contains(ends, ", which has ended, by mbarrier.inval at tests/kernels/cuda_mbarrier_orders_test.cpp:"));
  CHECK(contains(fault_in(Order::forward, copies_over_the_second, dim3(1), dim3(1), 0, nullptr, from, false),
                 "cp.async: the destination covers an mbarrier that lives"));
  CHECK(fault_in(Order::forward, copies_over_the_second, dim3(1), dim3(1), 0, nullptr, from, true) == "");
  CHECK(contains(fault_in(Order::forward, half_outside, dim3(1), dim3(1), 0, nullptr),
                 "the object lies outside of a shared array"));
}
