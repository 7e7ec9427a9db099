// mbarrier: an object of 8 bytes in shared memory on which threads arrive and for which threads wait. PTX manual,
// "Parallel Synchronization and Communication Instructions: mbarrier" (what sm_80 has of it: no transaction bytes).
//
//              init(3)   arrive   arrive   arrive             arrive ...
//   pending       3        2        1      0, so at once 3      2            waiting for phase 0 goes on from here on:
//   phase         0        0        0      1                    1            ^ the third arrival ended it
//
// A phase is waited for by the state that arrive gave, or by its parity: 0 for the phases 0, 2, 4 ... So of a new
// object parity 1 "has ended" and parity 0 has not. Either names only the current phase or the one before it.
//
// cp.async.mbarrier.arrive.noinc arrives on its own, once all copies that its thread has asked for so far have landed.
// Schedules try both ends (async_copy.h): in reverse order at once, in forward order only when no thread can go on
// otherwise, and then only for an object that somebody waits for; in random orders as drawn, at every wait again. So
// who does not wait reads NaN or an old tile. A wait is a point at which another thread may come next, even where the
// phase has ended.
//
// Faults, each undefined in PTX, that name the line, the block and the thread: an address that is not a multiple of 8
// or outside of a shared array; use before init or after inval, init of a live object, inval while copies have still to
// arrive; counts outside of 1 to 2^20 - 1, more arrivals than are pending, a noComplete that completes; a state of
// another object or an older phase; a phase that ends, and the next one too, before a thread that waits has looked; an
// ordinary write or a copy over a live object. An ordinary read is not seen: it gives bytes that mean nothing. A phase
// that nobody can end is found by the scheduler.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/gpu/runtime.h"

namespace ov::sim {

enum class Arrival { usual, no_complete, drop };  // drop: later phases expect that many fewer

void mbarrier_init(void* object, unsigned count, gpu::Place);
void mbarrier_inval(void* object, gpu::Place);
std::uint64_t mbarrier_arrive(void* object, unsigned count, Arrival, gpu::Place);  // the state before it
void mbarrier_arrive_copied(void* object, gpu::Place);                             // when the copies so far have landed
void mbarrier_wait(void* object, std::uint64_t state, gpu::Place);
void mbarrier_wait_parity(void* object, unsigned parity, gpu::Place);

// --- Called by the scheduler and by async_copy.cpp ------------------------------------------------------------------

// No thread can go on: copies land that somebody waits for. False: there are none.
bool land_awaited_copies();
std::string text_of(const void* object);  // "phase 2 of the mbarrier of x.cu:12: 3 of 64 arrivals are missing"
void require_untouched();                 // of all live objects: nothing else has written there
bool covers_mbarrier(const void* data, std::size_t bytes);

}  // namespace ov::sim
