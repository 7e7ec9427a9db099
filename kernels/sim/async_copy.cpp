#include "kernels/sim/async_copy.h"

#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

#include "base/error.h"
#include "kernels/sim/mbarrier.h"
#include "kernels/sim/scheduler.h"

namespace ov::sim {
namespace {

struct Copy {
  void* to;
  const void* from;
  unsigned bytes, read;
  std::uint64_t number;  // of the thread's copies
  void land() const {
    std::memset(to, 0, bytes);
    std::memcpy(to, from, read);
  }
};
struct Pending {
  std::vector<Copy> open;
  std::deque<std::vector<Copy>> groups;  // committed, oldest first
  std::uint64_t copies = 0;              // that were asked for
};

// What the block before left is forgotten.
Pending& of(unsigned thread) {
  static thread_local std::vector<Pending> of_thread;
  static thread_local std::uint64_t block = 0;
  if (block != block_number()) of_thread.clear(), block = block_number();
  if (of_thread.size() <= thread) of_thread.resize(thread + 1);
  return of_thread[thread];
}
Pending& mine() { return of(thread_number()); }

void land_before(std::vector<Copy>& copies, std::uint64_t count) {
  std::erase_if(copies, [&](const Copy& copy) { return copy.number < count && (copy.land(), true); });
}

}  // namespace

void copy_async(void* to, const void* from, unsigned bytes, unsigned read) {
  const auto misaligned = [&](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % bytes != 0; };
  if (misaligned(to) || misaligned(from)) fault(cat("cp.async: an address is not a multiple of ", bytes));
  if (!in_shared(to, bytes)) fault("cp.async: the destination lies outside of a shared array");
  if (covers_mbarrier(to, bytes)) fault("cp.async: the destination covers an mbarrier that lives");
  const Copy copy{to, from, bytes, read, mine().copies++};
  if (order() == Order::reverse || (order() == Order::random && drawn_below(2) == 0)) copy.land();
  else mine().open.push_back(copy);
}

void copy_async_commit() {
  Pending& p = mine();
  p.groups.push_back(std::move(p.open));
  p.open.clear();
}

void copy_async_wait(unsigned may_wait) {
  Pending& p = mine();
  for (; p.groups.size() > may_wait; p.groups.pop_front())
    for (const Copy& copy : p.groups.front()) copy.land();
}

std::uint64_t copies_so_far() { return mine().copies; }

void land_copies(unsigned thread, std::uint64_t count) {
  Pending& p = of(thread);
  for (auto& group : p.groups) land_before(group, count);
  land_before(p.open, count);
}

}  // namespace ov::sim
