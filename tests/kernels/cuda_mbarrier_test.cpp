// The twins of kernels/cuda/ptx_barrier.h against the rules of the PTX manual, "Parallel Synchronization and
// Communication Instructions: mbarrier"; the subsection is named where a rule is tested.
#include "kernels/cuda/ptx_barrier.h"

#include <doctest/doctest.h>

#include <vector>

#include "tests/check.h"
#include "tests/kernels/fault_of.h"
#include "tests/kernels/sim_schedules.h"

using namespace ov;
using namespace ov::test;
using ov::sim::fault_of;
using ov::sim::Order;
using ov::sim::ScheduleScope;
using ptx::Mbarrier;

namespace {

// ---- phases

constexpr int turns = 5;

// Threads 1 to 3 leave a mark and arrive; thread 0 waits for each phase by its parity and adds the marks up.
__global__ void phases(int* seen) {
  SHARED(Mbarrier, b, 1);
  SHARED(int, marks, 3);
  const int t = threadIdx.x;
  if (t == 0) {
    ptx::mbarrier_init(&b[0], 3);
    ptx::mbarrier_wait_parity(&b[0], 1);  // of a new object the phase before has ended
  }
  __syncthreads();
  for (int n = 0; n < turns; ++n) {
    if (t > 0) marks[t - 1] = n + 1, ptx::mbarrier_arrive(&b[0]);
    else ptx::mbarrier_wait_parity(&b[0], static_cast<unsigned>(n % 2)), seen[n] = marks[0] + marks[1] + marks[2];
    __syncthreads();
  }
}

// Each thread waits for the phase that it arrived in, by the state: as good as a __syncthreads.
__global__ void states(int* y) {
  SHARED(Mbarrier, b, 1);
  SHARED(int, s, 64);
  const int t = threadIdx.x;
  if (t == 0) ptx::mbarrier_init(&b[0], 64);
  __syncthreads();
  int total = 0;
  for (int n = 0; n < turns; ++n) {
    s[t] = t * (n + 1);
    ptx::mbarrier_wait(&b[0], ptx::mbarrier_arrive(&b[0]));
    total += s[(t + 33) % 64];
    ptx::mbarrier_wait(&b[0], ptx::mbarrier_arrive(&b[0]));
  }
  y[t] = total;
}

// Phase 0: thread 0 arrives three times and thread 1 for the last time. Phase 1 expects three.
__global__ void counts(int* seen) {
  SHARED(Mbarrier, b, 1);
  SHARED(int, mark, 1);
  if (threadIdx.x == 0) ptx::mbarrier_init(&b[0], 4);
  __syncthreads();
  if (threadIdx.x == 1) {
    mark[0] = 5;
    ptx::mbarrier_arrive_drop(&b[0]);
    return;
  }
  ptx::mbarrier_arrive_no_complete(&b[0], 2);
  ptx::mbarrier_wait(&b[0], ptx::mbarrier_arrive(&b[0]));
  seen[0] = mark[0];
  ptx::mbarrier_arrive_no_complete(&b[0], 2);
  ptx::mbarrier_wait(&b[0], ptx::mbarrier_arrive(&b[0]));
  seen[1] = mark[0];
}

// ---- misuse, by one thread

enum Misuse {
  unaligned,
  not_shared,
  of_none,
  of_too_many,
  of_most,
  lives,
  before_init,
  waits_before_init,
  inval_before_init,
  after_inval,
  init_after_inval,
  state_from_before,
  inval_under_copies,
  beyond_count,
  beyond_dropped,
  completes,
  arrives_zero_times,
  of_another,
  of_old_phase,
  third_parity,
  written_over,
  written_over_at_end,
  copied_over,
};

__global__ void misuse(int which, const float* from, Mbarrier* elsewhere) {
  SHARED(std::uint64_t, raw, 4);
  SHARED(Mbarrier, two, 2);
  auto* odd = reinterpret_cast<Mbarrier*>(reinterpret_cast<unsigned char*>(&raw[0]) + 4);
  Mbarrier *b = &two[0], *other = &two[1];
  if (which == unaligned) return ptx::mbarrier_init(odd, 1);
  if (which == not_shared) return ptx::mbarrier_init(elsewhere, 1);
  if (which == of_none) return ptx::mbarrier_init(b, 0);
  if (which == of_too_many) return ptx::mbarrier_init(b, 1u << 20);
  if (which == before_init) return static_cast<void>(ptx::mbarrier_arrive(b));
  if (which == waits_before_init) return ptx::mbarrier_wait_parity(b, 1);
  if (which == inval_before_init) return ptx::mbarrier_inval(b);
  ptx::mbarrier_init(b, which == of_most ? (1u << 20) - 1 : 2);
  if (which == of_most) return static_cast<void>(ptx::mbarrier_arrive_no_complete(b, (1u << 20) - 2));
  ptx::mbarrier_init(other, 1);
  if (which == lives) ptx::mbarrier_init(b, 2);
  const std::uint64_t state = ptx::mbarrier_arrive(b);
  if (which == after_inval || which == init_after_inval || which == state_from_before) {
    ptx::mbarrier_inval(b);
    if (which == after_inval) ptx::mbarrier_arrive(b);
    ptx::mbarrier_init(b, 1);
    if (which == state_from_before) ptx::mbarrier_wait(b, state);
    ptx::mbarrier_wait(b, ptx::mbarrier_arrive(b));
  }
  if (which == inval_under_copies) ptx::copy_async_arrive(b), ptx::mbarrier_inval(b);
  if (which == beyond_count) ptx::mbarrier_arrive_no_complete(b, 2);
  if (which == beyond_dropped) ptx::mbarrier_arrive_drop(other), ptx::mbarrier_arrive(other);
  if (which == completes) ptx::mbarrier_arrive_no_complete(b, 1);
  if (which == arrives_zero_times) ptx::mbarrier_arrive_no_complete(b, 0);
  if (which == of_another) ptx::mbarrier_wait(other, state);
  if (which == of_old_phase) {
    ptx::mbarrier_arrive(b);
    ptx::mbarrier_wait(b, state);  // the phase before
    ptx::mbarrier_arrive(b), ptx::mbarrier_arrive(b);
    ptx::mbarrier_wait(b, state);
  }
  if (which == third_parity) ptx::mbarrier_wait_parity(b, 2);
  if (which == written_over) b->opaque = 1, ptx::mbarrier_arrive(b);
  if (which == written_over_at_end) b->opaque = 1;
  if (which == copied_over) ptx::copy_async(b, from, true);
}

std::string fault_of_misuse(Misuse which) {
  alignas(16) const float from[4] = {};
  Mbarrier here;
  return fault_of(misuse, dim3(1), dim3(1), 0, nullptr, which, from, &here);
}

// Thread 0 waits for phase 0; thread 1 ends it, and the next one too when nothing holds it back.
__global__ void runs_ahead(int phases_at_once) {
  SHARED(Mbarrier, b, 1);
  if (threadIdx.x == 0) ptx::mbarrier_init(&b[0], 1);
  __syncthreads();
  if (threadIdx.x == 0) ptx::mbarrier_wait_parity(&b[0], 0);
  else
    for (int n = 0; n < phases_at_once; ++n) ptx::mbarrier_arrive(&b[0]);
}

__global__ void shown_too_late() {  // no barrier after init
  SHARED(Mbarrier, b, 1);
  if (threadIdx.x == 0) ptx::mbarrier_init(&b[0], 64);
  ptx::mbarrier_arrive(&b[0]);
}

}  // namespace

TEST_CASE("mbarrier: a phase ends with its last arrival, and parity tells it from the next one") {
  // "Phase of the mbarrier object", "mbarrier.test_wait": phaseParity is that of the current phase or the one before.
  sim::for_each_schedule([] {
    std::vector<int> seen(turns);
    launch(phases, dim3(1), dim3(4), 0, nullptr, seen.data());
    CHECK(seen == std::vector<int>{3, 6, 9, 12, 15});
  });
}

TEST_CASE("mbarrier: the state of an arrival names the phase that it belongs to") {
  // "mbarrier.arrive": the state captures the phase prior to the arrive-on operation.
  sim::for_each_schedule([] {
    std::vector<int> y(64);
    launch(states, dim3(1), dim3(64), 0, nullptr, y.data());
    for (int t = 0; t < 64; ++t) CHECK(y[static_cast<std::size_t>(t)] == (t + 33) % 64 * 15);
  });
}

TEST_CASE("mbarrier: arrivals by count, and threads that arrive for the last time") {
  // "mbarrier.arrive": .noComplete takes a count. "mbarrier.arrive_drop": the expected count of later phases falls.
  sim::for_each_schedule([] {
    std::vector<int> seen(2);
    launch(counts, dim3(1), dim3(2), 0, nullptr, seen.data());
    CHECK(seen == std::vector<int>{5, 5});
  });
}

TEST_CASE("mbarrier: what PTX leaves undefined is a fault that names instruction, line, block and thread (G-29)") {
  for (const auto& [which, said] : {
           // "Size and alignment of mbarrier object": 8 bytes at a multiple of 8; .shared for all instructions
           std::pair{unaligned, "init # the object's address is not a multiple of 8"},
           {not_shared, "init # the object lies outside of a shared array"},
           // "Contents of the mbarrier object": the range of the expected arrival count
           {of_none, "init # a count of 0, which is not in 1 to 2^20 - 1"},
           {of_too_many, "init # a count of 1048576, which"},
           {of_most, ""},
           // "mbarrier.init": on a location that holds a valid object; "Lifecycle of the mbarrier object"
           {lives, "init # the object lives, since "},
           {before_init, "arrive # no mbarrier.init has run on this object"},
           {waits_before_init, "test_wait.parity # no mbarrier.init has run"},
           {inval_before_init, "inval # no mbarrier.init has run"},
           {after_inval, "arrive # the mbarrier of "},
           {init_after_inval, ""},
           {state_from_before, "test_wait # the state is not one of the mbarrier of "},
           {inval_under_copies, "inval # copies of 1 thread have still to arrive"},
           // "mbarrier.arrive": the count lies within the pending count; .noComplete must not complete the phase
           {beyond_count, "arrive.noComplete # 2 arrivals at the mbarrier of "},
           {beyond_dropped, "arrive # 1 arrivals at the mbarrier of "},
           {completes, "arrive.noComplete # it completes a phase of "},
           {arrives_zero_times, "arrive.noComplete # a count of 0"},
           // "mbarrier.test_wait": of the current phase or the one before; parity 0 or 1
           {of_another, "test_wait # the state is not one of "},
           {of_old_phase, "test_wait # the state is of phase 0, and the mbarrier of "},
           {third_parity, "test_wait.parity # a parity of 2"},
           // "mbarrier.inval": before the location is used for anything else
           {written_over, "arrive # something else has written over the mbarrier of "},
       }) {
    const std::string fault = fault_of_misuse(which), text = said;
    CAPTURE(text);
    if (text.empty()) {
      CHECK(fault == "");
      continue;
    }
    const std::size_t cut = text.find('#');
    CHECK(
        fault.starts_with(cat("block (0,0,0) thread 0: mbarrier.", text.substr(0, cut), "at tests/kernels/cuda_mbar")));
    CHECK(contains(fault, cat(": ", text.substr(cut + 2))));
  }
  CHECK(fault_of_misuse(written_over_at_end).starts_with("block (0,0,0): something else has written over"));
  CHECK(contains(fault_of_misuse(copied_over), "cp.async: the destination covers an mbarrier that lives"));
}

TEST_CASE("mbarrier: an object that no barrier shows after its init is found") {
  CHECK(contains(
      [] {
        const ScheduleScope scope({Order::reverse});
        return fault_of(shown_too_late, dim3(1), dim3(64), 0, nullptr);
      }(),
      "thread 63: mbarrier.arrive at "));
}

TEST_CASE("mbarrier: a phase that ends twice before a thread looks is a fault: by parity it could wait for ever") {
  CHECK(fault_of(runs_ahead, dim3(1), dim3(2), 0, nullptr, 1) == "");
  const std::string fault = fault_of(runs_ahead, dim3(1), dim3(2), 0, nullptr, 2);
  CHECK(contains(fault, "thread 0: mbarrier.test_wait.parity at tests/kernels/cuda_mbarrier_test.cpp:"));
  CHECK(contains(fault, ": phase 0 of the mbarrier of tests/kernels/cuda_mbarrier_test.cpp:"));
  CHECK(contains(fault, " has ended, and the next one too, before this thread has looked"));
}
