// Runs a grid of CUDA threads on the CPU, one fiber per thread, blocks one after another on the calling OS thread.
//
// A thread runs without interruption from one synchronisation point to the next; which runnable thread comes next is a
// function of the Schedule alone. A kernel is free of races between synchronisation points only if every schedule gives
// the same bits, so tests run forward, reverse and random ones.
//
// Found and thrown as KernelFault by launch(), naming block, threads and place:
//   no thread can go on: a barrier or a warp collective that some thread never reaches, or reaches with another mask
//   a barrier completed by threads that stand at different __syncthreads()
//   a lane that calls a collective whose mask leaves it out
//   an index outside a shared array, and a write through a pointer past its end
//   a launch beyond the limits of its GPU (capability.h)
//   a misuse of an mbarrier (mbarrier.h)
// Shared memory starts every block as NaN bytes (0xff), so a read before the write shows in the result.
// Global memory is host memory: the address sanitizer watches its ends.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

namespace ov::sim {

struct KernelFault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The order in which runnable threads are picked, and blocks are run: lowest index first, highest first, or drawn.
enum class Order { forward, reverse, random };
struct Schedule {
  Order order = Order::forward;
  std::uint64_t seed = 0;  // of Order::random
};

// Launches of this OS thread follow `schedule` for the lifetime of the object.
class ScheduleScope {
 public:
  explicit ScheduleScope(Schedule schedule);
  ~ScheduleScope();
  ScheduleScope(const ScheduleScope&) = delete;

 private:
  Schedule before_;
};

struct Index3 {
  unsigned x = 0, y = 0, z = 0;
};
struct Extent3 {
  constexpr Extent3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  unsigned x, y, z;
  constexpr std::uint64_t count() const { return std::uint64_t{x} * y * z; }
};

// Runs `body` once for every thread of every block. Throws KernelFault, or what the body throws.
void run(Extent3 grid, Extent3 block, std::size_t dynamic_shared_bytes, const std::function<void()>& body);

// --- Called by a kernel, through kernels/cuda/language.h ------------------------------------------------------------

constexpr unsigned warp_lanes = 32;

const Index3& thread_index();
const Index3& block_index();
const Extent3& block_extent();
const Extent3& grid_extent();
unsigned lane();

void block_barrier(const char* file, int line);

// Every lane of `mask` brings the address of its arguments; when the last has come, `combine` runs once over all of
// them (null: a lane that is not in the mask or has returned) and all go on. `name` tells collectives apart.
using Combine = void (*)(void* const arguments[warp_lanes]);
void warp_collective(const char* name, unsigned mask, void* arguments, Combine combine);

// Memory that all threads of the block see under the same key (the address of a static variable).
void* static_shared(const void* key, std::size_t bytes);
void* dynamic_shared();
std::size_t dynamic_shared_bytes();

// For async_copy.cpp and mbarrier.cpp: the running thread in its block, a number that no other block of this OS thread
// has had, the order of the schedule and a drawn number below n, and whether bytes lie within one shared array.
unsigned thread_number();
std::uint64_t block_number();
Order order();
std::uint64_t drawn_below(std::uint64_t n);
bool in_shared(const void* data, std::size_t bytes);

// For mbarrier.cpp: the running thread stands still until somebody wakes who waits on `object`; it lets another one, or
// itself, come next.
void wait_on(const void* object, const char* file, int line);
void wake(const void* object);
void yield();

// Throws KernelFault, with block and thread added to `what`; outside of a thread with the block alone.
[[noreturn]] void fault(const std::string& what);

}  // namespace ov::sim
