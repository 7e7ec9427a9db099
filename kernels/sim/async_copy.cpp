#include "kernels/sim/async_copy.h"

#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

#include "base/error.h"
#include "kernels/sim/scheduler.h"

namespace ov::sim {
namespace {

struct Copy {
  void* to;
  const void* from;
  unsigned bytes, read;
  void land() const {
    std::memset(to, 0, bytes);
    std::memcpy(to, from, read);
  }
};
struct Pending {
  std::vector<Copy> open;
  std::deque<std::vector<Copy>> groups;  // committed, oldest first
};

// Of the running thread. What the block before left is forgotten.
Pending& mine() {
  static thread_local std::vector<Pending> of_thread;
  static thread_local std::uint64_t block = 0;
  if (block != block_number()) of_thread.clear(), block = block_number();
  const unsigned thread = thread_number();
  if (of_thread.size() <= thread) of_thread.resize(thread + 1);
  return of_thread[thread];
}

}  // namespace

void copy_async(void* to, const void* from, unsigned bytes, unsigned read) {
  const auto misaligned = [&](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % bytes != 0; };
  if (misaligned(to) || misaligned(from)) fault(cat("cp.async: an address is not a multiple of ", bytes));
  if (!in_shared(to, bytes)) fault("cp.async: the destination lies outside of a shared array");
  const Copy copy{to, from, bytes, read};
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

}  // namespace ov::sim
