#include "kernels/sim/scheduler.h"

#include <array>
#include <bit>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"
#include "kernels/sim/capability.h"
#include "kernels/sim/mbarrier.h"
#include "kernels/sim/runnable_set.h"
#include "kernels/sim/shared_memory.h"
#include "kernels/sim/thread.h"

namespace ov::sim {
namespace {

constexpr unsigned max_warps = max_threads / warp_lanes;

// What one OS thread needs to run blocks. Kept between launches, since stacks cost a system call each.
class Machine {
 public:
  void run_grid(Extent3 grid, Extent3 block, std::size_t dynamic_bytes, const std::function<void()>& body);

  void barrier(const char* file, int line);
  void collective(const char* name, unsigned mask, void* arguments, Combine combine);
  void wait_on(const void* object, const char* file, int line);
  void wake(const void* object);
  void yield();
  void* static_shared(const void* key, std::size_t bytes);
  [[noreturn]] void fault(const std::string& what) const;
  unsigned number(const Thread& t) const { return static_cast<unsigned>(&t - threads_.data()); }

  Random random{0};
  std::uint64_t blocks = 0;  // that have begun
  Schedule schedule;
  Extent3 grid, block;
  Index3 block_index;
  SharedMemory shared;
  Thread* current = nullptr;  // null outside a kernel

 private:
  void run_block();
  void step(Thread& t);
  void complete_barrier_if_all_came();
  void complete_collective_of(const Thread& t);
  void release(Thread& t) { t.state = State::runnable, runnable_.insert(number(t)); }
  Warp& warp_of(const Thread& t) { return warps_[number(t) / warp_lanes]; }
  std::string shared_limit() const {
    return cat(gpu_->shared_bytes >> 10, " KB of shared memory (compute capability ", text(gpu_->capability), ")");
  }
  std::string here() const { return cat("block (", block_index.x, ",", block_index.y, ",", block_index.z, ")"); }
  std::string waiting_threads() const;
  void abandon();

  const std::function<void()>* body_ = nullptr;
  const std::function<void()> guarded_body_ = [this] {
    try {
      (*body_)();
    } catch (...) { thrown_ = std::current_exception(); }
  };
  std::exception_ptr thrown_;
  std::vector<Thread> threads_;
  std::array<Warp, max_warps> warps_;
  RunnableSet runnable_;
  unsigned live_ = 0, at_barrier_ = 0;
  const Generation* gpu_ = nullptr;  // whose limits hold
  std::vector<std::unique_ptr<Fiber>> idle_;
};

void Machine::run_grid(Extent3 grid_size, Extent3 block_size, std::size_t dynamic_bytes,
                       const std::function<void()>& body) {
  const auto limit = [](bool ok, const char* what) {
    if (!ok) throw KernelFault(cat("launch: ", what));
  };
  limit(!body_, "a kernel launches a kernel");
  limit(grid_size.count() > 0 && block_size.count() > 0, "an empty grid or block");
  limit(grid_size.x <= 0x7fffffff && grid_size.y <= 65535 && grid_size.z <= 65535, "grid beyond 2^31-1, 65535, 65535");
  limit(block_size.count() <= max_threads && block_size.z <= 64, "block beyond 1024 threads, 64 in z");
  gpu_ = &CapabilityScope::current();
  if (dynamic_bytes > gpu_->shared_bytes)
    throw KernelFault(cat("launch: more than ", shared_limit(), ", which is all that a block has"));

  grid = grid_size, block = block_size, body_ = &body;
  random.state = schedule.seed;
  threads_ = std::vector<Thread>(block.count());
  for (unsigned i = 0; i < threads_.size(); ++i)
    threads_[i].index = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};

  std::vector<std::uint64_t> order;  // of blocks, when drawn
  if (schedule.order == Order::random)
    for (std::uint64_t i = 0; i < grid.count(); ++i) {
      order.push_back(i);
      std::swap(order[i], order[random.below(i + 1)]);
    }
  try {
    for (std::uint64_t i = 0; i < grid.count(); ++i) {
      const std::uint64_t b = schedule.order == Order::forward   ? i
                              : schedule.order == Order::reverse ? grid.count() - 1 - i
                                                                 : order[i];
      block_index = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                     static_cast<unsigned>(b / grid.x / grid.y)};
      shared.begin_block(dynamic_bytes, gpu_->shared_bytes);
      run_block();
    }
  } catch (...) {
    abandon();
    throw;
  }
  body_ = nullptr;
}

void Machine::run_block() {
  ++blocks;
  live_ = static_cast<unsigned>(threads_.size());
  for (Thread& t : threads_) release(t);
  warps_.fill({});
  if (live_ % warp_lanes) warps_[live_ / warp_lanes].returned = ~0u << live_ % warp_lanes;
  do {
    while (!runnable_.empty()) step(threads_[runnable_.take(schedule.order, random)]);
  } while (live_ && land_awaited_copies());
  if (live_) throw KernelFault(cat(here(), ": no thread can go on: ", waiting_threads()));
  require_untouched();
  if (!shared.guards_intact()) throw KernelFault(cat(here(), ": a write just outside a shared array"));
}

void Machine::step(Thread& t) {
  if (!t.fiber) {
    if (idle_.empty()) idle_.push_back(std::make_unique<Fiber>());
    t.fiber = std::move(idle_.back());
    idle_.pop_back();
    t.fiber->start(guarded_body_);
  }
  current = &t;
  t.fiber->resume();
  current = nullptr;
  if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
  if (!t.fiber->finished()) return;

  idle_.push_back(std::move(t.fiber));
  t.state = State::returned;
  --live_;
  complete_barrier_if_all_came();
  const Warp& warp = warp_of(t);
  const unsigned first = number(t) / warp_lanes * warp_lanes;
  warp_of(t).returned |= 1u << number(t) % warp_lanes;
  for (unsigned waiting = warp.in_collective; waiting; waiting &= waiting - 1)
    complete_collective_of(threads_[first + static_cast<unsigned>(std::countr_zero(waiting))]);
}

void Machine::barrier(const char* file, int line) {
  Thread& t = *current;
  t.wait(State::at_barrier, file, line);
  ++at_barrier_;
  complete_barrier_if_all_came();
  Fiber::suspend();
}

// Threads that have returned are not waited for, as on compute capability 7.0 and later.
void Machine::complete_barrier_if_all_came() {
  if (at_barrier_ == 0 || at_barrier_ < live_) return;
  const Thread* first = nullptr;
  for (const Thread& t : threads_) {
    if (t.state != State::at_barrier) continue;
    if (!first) first = &t;
    if (!t.waits_like(*first)) throw KernelFault(cat(here(), ": divergent barrier: ", waiting_threads()));
  }
  at_barrier_ = 0;
  for (Thread& t : threads_)
    if (t.state == State::at_barrier) release(t);
}

void Machine::collective(const char* name, unsigned mask, void* arguments, Combine combine) {
  Thread& t = *current;
  if (!(mask >> number(t) % warp_lanes & 1))
    fault(cat(name, ": mask 0x", Thread::hex(mask), " leaves the calling lane out"));
  t.wait(State::in_collective, name, 0, mask);
  t.arguments = arguments, t.combine = combine;
  warp_of(t).in_collective |= 1u << number(t) % warp_lanes;
  complete_collective_of(t);
  Fiber::suspend();
}

// Complete once every lane of the mask has returned or waits at the same collective with the same mask.
void Machine::complete_collective_of(const Thread& t) {
  Warp& warp = warp_of(t);
  const unsigned first = number(t) / warp_lanes * warp_lanes, mask = t.mask;
  if (t.state != State::in_collective || (mask & ~(warp.in_collective | warp.returned))) return;

  void* arguments[warp_lanes] = {};
  const unsigned lanes = mask & warp.in_collective;
  for (unsigned rest = lanes; rest; rest &= rest - 1) {
    const auto i = static_cast<unsigned>(std::countr_zero(rest));
    if (!threads_[first + i].waits_like(t)) return;
    arguments[i] = threads_[first + i].arguments;
  }
  t.combine(arguments);
  warp.in_collective &= ~lanes;
  for (unsigned rest = lanes; rest; rest &= rest - 1)
    release(threads_[first + static_cast<unsigned>(std::countr_zero(rest))]);
}

void Machine::wait_on(const void* object, const char* file, int line) {
  current->wait(State::at_mbarrier, file, line, 0, object);
  Fiber::suspend();
}

void Machine::wake(const void* object) {
  for (Thread& t : threads_)
    if (t.state == State::at_mbarrier && t.object == object) release(t);
}

void Machine::yield() {
  release(*current);
  Fiber::suspend();
}

void* Machine::static_shared(const void* key, std::size_t bytes) {
  void* data = shared.piece(key, bytes);
  if (!data)
    fault(cat("more shared memory than a block has: ", SharedMemory::static_limit, " bytes declared, in all ",
              shared_limit()));
  return data;
}

void Machine::fault(const std::string& what) const {
  throw KernelFault(current ? cat(here(), " thread ", number(*current), ": ", what) : cat(here(), ": ", what));
}

std::string Machine::waiting_threads() const {
  std::string text;
  for (unsigned i = 0; i < threads_.size();) {
    unsigned end = i + 1;
    while (end < threads_.size() && threads_[end].waits_like(threads_[i])) ++end;
    if (threads_[i].state != State::returned) {
      text += cat(text.empty() ? "" : "; ", "threads ", i, "-", end - 1, " wait at ", threads_[i].waits_at());
    }
    i = end;
  }
  return text;
}

// After a fault the other threads of the block stand in the middle of the kernel: their stacks are dropped.
void Machine::abandon() {
  threads_.clear();
  runnable_.clear();
  at_barrier_ = 0;
  current = nullptr;
  thrown_ = nullptr;
  body_ = nullptr;
}

thread_local Machine machine;

}  // namespace

ScheduleScope::ScheduleScope(Schedule schedule) : before_(machine.schedule) { machine.schedule = schedule; }
ScheduleScope::~ScheduleScope() { machine.schedule = before_; }

void run(Extent3 grid, Extent3 block, std::size_t dynamic_shared_bytes, const std::function<void()>& body) {
  machine.run_grid(grid, block, dynamic_shared_bytes, body);
}

const Index3& thread_index() { return machine.current->index; }
const Index3& block_index() { return machine.block_index; }
const Extent3& block_extent() { return machine.block; }
const Extent3& grid_extent() { return machine.grid; }
unsigned lane() {
  const auto& [x, y, z] = machine.current->index;
  return (x + machine.block.x * (y + machine.block.y * z)) % warp_lanes;
}
void block_barrier(const char* file, int line) { machine.barrier(file, line); }
void warp_collective(const char* name, unsigned mask, void* arguments, Combine combine) {
  machine.collective(name, mask, arguments, combine);
}
void wait_on(const void* object, const char* file, int line) { machine.wait_on(object, file, line); }
void wake(const void* object) { machine.wake(object); }
void yield() { machine.yield(); }
void* static_shared(const void* key, std::size_t bytes) { return machine.static_shared(key, bytes); }
void* dynamic_shared() { return machine.shared.dynamic(); }
std::size_t dynamic_shared_bytes() { return machine.shared.dynamic_bytes(); }
unsigned thread_number() { return machine.number(*machine.current); }
std::uint64_t block_number() { return machine.blocks; }
Order order() { return machine.schedule.order; }
std::uint64_t drawn_below(std::uint64_t n) { return machine.random.below(n); }
bool in_shared(const void* data, std::size_t bytes) { return machine.shared.holds(data, bytes); }
void fault(const std::string& what) { machine.fault(what); }

}  // namespace ov::sim
