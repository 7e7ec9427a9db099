// cp.async: a thread asks for a copy from global to shared memory, goes on, and waits for it later.
//
// A copy may land at any time between the call and the wait that covers it. Schedules try both ends: in forward order
// copies land as late as they may, in reverse order at once, in random orders each as drawn. So a wait that is missing
// or covers too little reads NaN or an old tile, and a buffer that is refilled while others still read it gives other
// bits. A copy that nobody waits for until the block ends never lands. Who waits for an mbarrier: mbarrier.h.
#pragma once
#include <cstddef>
#include <cstdint>

namespace ov::sim {

// `read` bytes of `from`, then zeros up to `bytes` (4, 8 or 16). Faults: an address that is not a multiple of `bytes`
// (CUDA: error 716), a destination outside of a shared array or over a live mbarrier.
void copy_async(void* to, const void* from, unsigned bytes, unsigned read);
void copy_async_commit();  // what this thread asked for since the last commit is a group, also when empty
void copy_async_wait(unsigned may_wait);  // until all but the newest `may_wait` groups of this thread have landed

// For mbarrier.cpp: how many the running thread has asked for in this block, and that those of `thread` land which it
// asked for before it had asked for `count`.
std::uint64_t copies_so_far();
void land_copies(unsigned thread, std::uint64_t count);

}  // namespace ov::sim
