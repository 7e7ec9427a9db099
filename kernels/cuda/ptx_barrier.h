// mbarrier: barriers in shared memory that threads arrive at and wait for, and that copies arrive at on their own. As
// in ptx.h each instruction has its twin for kernels/sim, whose rules and faults stand in kernels/sim/mbarrier.h.
// PTX manual: "Parallel Synchronization and Communication Instructions: mbarrier", ": cp.async.mbarrier.arrive".
//
// All of it is what sm_80 has: there, arriving several times at once may not complete a phase (.noComplete), and
// waiting is a loop (try_wait is sm_90's). A pipeline of two stages, T threads that fetch and read:
//
//   SHARED(ptx::Mbarrier, full, 2);                     one thread: mbarrier_init(&full[s], T); then __syncthreads()
//   fetch turn n into stage s = n % 2: copy_async ...; copy_async_arrive(&full[s])
//   read it: mbarrier_wait_parity(&full[s], n / 2 % 2)     the phases of one stage: 0, 1, 2 ...
//
// and a second object a stage, on which who has read arrives, before the stage is fetched into again.
#pragma once
#include "kernels/cuda/ptx.h"

#ifndef __CUDACC__
#include "kernels/sim/mbarrier.h"
#endif

namespace ov::ptx {

struct alignas(8) Mbarrier {
  std::uint64_t opaque;
};

#ifdef __CUDACC__

// For `count` arrivals a phase, 1 to 2^20 - 1. By one thread; a __syncthreads shows it to the others.
__device__ inline void mbarrier_init(Mbarrier* b, unsigned count) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(count) : "memory");
}
// Before its bytes are used for anything else, another mbarrier included.
__device__ inline void mbarrier_inval(Mbarrier* b) {
  asm volatile("mbarrier.inval.shared.b64 [%0];" ::"r"(shared_address(b)) : "memory");
}

// Returns the state before: it names the phase that this arrival belongs to.
__device__ inline std::uint64_t mbarrier_arrive(Mbarrier* b) {
  std::uint64_t state;
  asm volatile("mbarrier.arrive.shared.b64 %0, [%1];" : "=l"(state) : "r"(shared_address(b)) : "memory");
  return state;
}
// Several arrivals, which must not be the last ones of the phase.
__device__ inline std::uint64_t mbarrier_arrive_no_complete(Mbarrier* b, unsigned count) {
  std::uint64_t state;
  asm volatile("mbarrier.arrive.noComplete.shared.b64 %0, [%1], %2;"
               : "=l"(state)
               : "r"(shared_address(b)), "r"(count)
               : "memory");
  return state;
}
// The last arrival of who makes it: later phases expect one less.
__device__ inline std::uint64_t mbarrier_arrive_drop(Mbarrier* b) {
  std::uint64_t state;
  asm volatile("mbarrier.arrive_drop.shared.b64 %0, [%1];" : "=l"(state) : "r"(shared_address(b)) : "memory");
  return state;
}
// Arrives when all copy_async that this thread has asked for so far have landed. Counts as one of the `count`.
__device__ inline void copy_async_arrive(Mbarrier* b) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(shared_address(b)) : "memory");
}

// Until the phase of `state` has ended, this one or the one before it. Shows what who arrived had written, and copies.
__device__ inline void mbarrier_wait(Mbarrier* b, std::uint64_t state) {
  for (unsigned ended = 0; !ended;)
    asm volatile("{\n .reg .pred p;\n mbarrier.test_wait.shared.b64 p, [%1], %2;\n selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(ended)
                 : "r"(shared_address(b)), "l"(state)
                 : "memory");
}
// The same by the phase's parity: 0 for the first, 1 for the next. Of a new one, parity 1 has ended.
__device__ inline void mbarrier_wait_parity(Mbarrier* b, unsigned parity) {
  for (unsigned ended = 0; !ended;)
    asm volatile("{\n .reg .pred p;\n mbarrier.test_wait.parity.shared.b64 p, [%1], %2;\n selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(ended)
                 : "r"(shared_address(b)), "r"(parity)
                 : "memory");
}

#else  // the twins

inline void mbarrier_init(Mbarrier* b, unsigned count, gpu::Place at = gpu::Place::current()) {
  sim::mbarrier_init(b, count, at);
}
inline void mbarrier_inval(Mbarrier* b, gpu::Place at = gpu::Place::current()) { sim::mbarrier_inval(b, at); }
inline std::uint64_t mbarrier_arrive(Mbarrier* b, gpu::Place at = gpu::Place::current()) {
  return sim::mbarrier_arrive(b, 1, sim::Arrival::usual, at);
}
inline std::uint64_t mbarrier_arrive_no_complete(Mbarrier* b, unsigned count, gpu::Place at = gpu::Place::current()) {
  return sim::mbarrier_arrive(b, count, sim::Arrival::no_complete, at);
}
inline std::uint64_t mbarrier_arrive_drop(Mbarrier* b, gpu::Place at = gpu::Place::current()) {
  return sim::mbarrier_arrive(b, 1, sim::Arrival::drop, at);
}
inline void copy_async_arrive(Mbarrier* b, gpu::Place at = gpu::Place::current()) {
  sim::mbarrier_arrive_copied(b, at);
}
inline void mbarrier_wait(Mbarrier* b, std::uint64_t state, gpu::Place at = gpu::Place::current()) {
  sim::mbarrier_wait(b, state, at);
}
inline void mbarrier_wait_parity(Mbarrier* b, unsigned parity, gpu::Place at = gpu::Place::current()) {
  sim::mbarrier_wait_parity(b, parity, at);
}

#endif

}  // namespace ov::ptx
