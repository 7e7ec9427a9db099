#include "kernels/sim/mbarrier.h"

#include <algorithm>
#include <cstring>
#include <deque>

#include "base/error.h"
#include "kernels/sim/async_copy.h"
#include "kernels/sim/scheduler.h"

namespace ov::sim {
namespace {

constexpr unsigned most_arrivals = (1u << 20) - 1;       // "Contents of the mbarrier object"
constexpr std::uint64_t opaque = 0xb4a221e25b4a221eULL;  // what lies in memory while the object lives
constexpr int phase_bits = 40;                           // of a state; above them the object's number

std::string text(gpu::Place at) { return cat(at.file_name(), ":", at.line()); }

struct Object {
  void* at;
  gpu::Place born;
  std::uint64_t number;  // of the inits of this block: another one after inval and init
  unsigned expected, pending;
  std::uint64_t phase = 0;
  unsigned waiting = 0;  // threads
  bool live = true;
  gpu::Place ended;

  std::string name() const { return cat("the mbarrier of ", text(born)); }
  std::uint64_t state() const { return number << phase_bits | phase; }
  bool untouched() const {
    std::uint64_t bytes;
    std::memcpy(&bytes, at, sizeof bytes);
    return bytes == opaque;
  }
};

// An arrival that waits for copies to land.
struct Late {
  void* object;
  unsigned thread;
  std::uint64_t copies;  // of the thread, when it was asked for
};

struct OfBlock {
  std::deque<Object> objects;  // stays where it is
  std::deque<Late> late;       // oldest first
  std::uint64_t inits = 0;
};

// What the block before left is forgotten.
OfBlock& here() {
  static thread_local OfBlock of_block;
  static thread_local std::uint64_t block = 0;
  if (block != block_number()) {
    of_block.objects.clear(), of_block.late.clear(), of_block.inits = 0;
    block = block_number();
  }
  return of_block;
}

Object* find(const void* address) {
  std::deque<Object>& all = here().objects;
  const auto found = std::find_if(all.begin(), all.end(), [&](const Object& o) { return o.at == address; });
  return found == all.end() ? nullptr : &*found;
}

// Faults of one instruction.
struct Call {
  const char* name;
  gpu::Place at;
  [[noreturn]] void fault(const std::string& what) const { sim::fault(cat(name, " at ", text(at), ": ", what)); }

  void require_place(const void* address) const {
    if (reinterpret_cast<std::uintptr_t>(address) % 8 != 0) fault("the object's address is not a multiple of 8");
    if (!in_shared(address, 8)) fault("the object lies outside of a shared array");
  }
  void require_count(unsigned count) const {
    if (count < 1 || count > most_arrivals) fault(cat("a count of ", count, ", which is not in 1 to 2^20 - 1"));
  }
  Object& live(const void* address) const {
    require_place(address);
    Object* o = find(address);
    if (!o) fault("no mbarrier.init has run on this object");
    if (!o->live) fault(cat(o->name(), " has ended, by mbarrier.inval at ", text(o->ended)));
    if (!o->untouched()) fault(cat("something else has written over ", o->name()));
    return *o;
  }
};

void count_down(Object& o, unsigned count) {
  if (o.pending -= count; o.pending > 0) return;
  ++o.phase, o.pending = o.expected, o.waiting = 0;
  wake(o.at);
}

void land(const Late& late) {
  land_copies(late.thread, late.copies);
  Object& o = *find(late.object);  // mbarrier_inval sees to that
  if (!o.untouched()) fault(cat("something else has written over ", o.name()));
  if (o.pending == 0)
    fault(cat("the copies of thread ", late.thread, " arrive at ", o.name(), ", which expects nobody"));
  count_down(o, 1);
}

// In random orders: some of what is on its way lands now, in the order in which its thread asked for it.
void land_some() {
  std::deque<Late>& late = here().late;
  while (order() == Order::random && !late.empty() && drawn_below(2) == 0) {
    const unsigned thread = late[drawn_below(late.size())].thread;
    const auto first = std::find_if(late.begin(), late.end(), [&](const Late& l) { return l.thread == thread; });
    const Late next = *first;
    late.erase(first);
    land(next);
  }
}

void wait_for(const Call& call, Object& o, std::uint64_t phase) {
  land_some();
  if (o.phase > phase) return yield();
  const std::uint64_t number = o.number;
  ++o.waiting;
  wait_on(o.at, call.at.file_name(), static_cast<int>(call.at.line()));
  if (!o.live || o.number != number || o.phase != phase + 1)
    call.fault(cat("phase ", phase, " of ", o.name(), " has ended, and ",
                   o.live && o.number == number ? "the next one too" : "the object with it",
                   ", before this thread has looked"));
}

}  // namespace

void mbarrier_init(void* object, unsigned count, gpu::Place at) {
  const Call call{"mbarrier.init", at};
  call.require_place(object);
  call.require_count(count);
  Object* o = find(object);
  if (o && o->live) call.fault(cat("the object lives, since ", text(o->born)));
  if (!o) o = &here().objects.emplace_back(Object{object, at, 0, 0, 0, 0, 0, true, at});
  *o = {object, at, ++here().inits, count, count, 0, 0, true, at};
  std::memcpy(object, &opaque, sizeof opaque);
}

void mbarrier_inval(void* object, gpu::Place at) {
  const Call call{"mbarrier.inval", at};
  Object& o = call.live(object);
  const auto its =
      std::count_if(here().late.begin(), here().late.end(), [&](const Late& l) { return l.object == object; });
  if (its > 0) call.fault(cat("copies of ", its, its == 1 ? " thread have" : " threads have", " still to arrive"));
  o.live = false, o.ended = at;
  std::memset(object, 0xff, sizeof opaque);
}

std::uint64_t mbarrier_arrive(void* object, unsigned count, Arrival kind, gpu::Place at) {
  const Call call{kind == Arrival::drop          ? "mbarrier.arrive_drop"
                  : kind == Arrival::no_complete ? "mbarrier.arrive.noComplete"
                                                 : "mbarrier.arrive",
                  at};
  Object& o = call.live(object);
  call.require_count(count);
  if (count > o.pending) call.fault(cat(count, " arrivals at ", o.name(), ", where ", o.pending, " are pending"));
  if (kind == Arrival::no_complete && count == o.pending) call.fault(cat("it completes a phase of ", o.name()));
  const std::uint64_t state = o.state();
  if (kind == Arrival::drop) o.expected -= count;
  count_down(o, count);
  return state;
}

void mbarrier_arrive_copied(void* object, gpu::Place at) {
  const Call call{"cp.async.mbarrier.arrive.noinc", at};
  call.live(object);
  const Late late{object, thread_number(), copies_so_far()};
  if (order() == Order::reverse || (order() == Order::random && drawn_below(2) == 0)) land(late);
  else here().late.push_back(late);
}

void mbarrier_wait(void* object, std::uint64_t state, gpu::Place at) {
  const Call call{"mbarrier.test_wait", at};
  Object& o = call.live(object);
  const std::uint64_t phase = state & ((std::uint64_t{1} << phase_bits) - 1);
  if (state >> phase_bits != o.number) call.fault(cat("the state is not one of ", o.name()));
  if (phase + 1 < o.phase)
    call.fault(cat("the state is of phase ", phase, ", and ", o.name(), " is in phase ", o.phase));
  wait_for(call, o, phase);
}

void mbarrier_wait_parity(void* object, unsigned parity, gpu::Place at) {
  const Call call{"mbarrier.test_wait.parity", at};
  Object& o = call.live(object);
  if (parity > 1) call.fault(cat("a parity of ", parity));
  if (o.phase % 2 == parity) wait_for(call, o, o.phase);
  else land_some(), yield();
}

bool land_awaited_copies() {
  std::deque<Late>& late = here().late;
  std::vector<void*> awaited;
  for (const Late& l : late)
    if (find(l.object)->waiting > 0) awaited.push_back(l.object);
  if (awaited.empty()) return false;
  void* const object = awaited[order() == Order::random ? drawn_below(awaited.size()) : 0];
  const std::uint64_t phase = find(object)->phase;
  while (find(object)->phase == phase) {  // no more than it takes
    const auto next = std::find_if(late.begin(), late.end(), [&](const Late& l) { return l.object == object; });
    if (next == late.end()) break;
    const Late first = *next;
    late.erase(next);
    land(first);
  }
  return true;
}

std::string text_of(const void* object) {
  const Object& o = *find(object);
  if (!o.live) return cat(o.name(), ", which has ended, by mbarrier.inval at ", text(o.ended));
  return cat("phase ", o.phase, " of ", o.name(), ": ", o.pending, " of ", o.expected, " arrivals are missing");
}

void require_untouched() {
  for (const Object& o : here().objects)
    if (o.live && !o.untouched()) fault(cat("something else has written over ", o.name()));
}

bool covers_mbarrier(const void* data, std::size_t bytes) {
  const auto* from = static_cast<const std::byte*>(data);
  return std::any_of(here().objects.begin(), here().objects.end(), [&](const Object& o) {
    const auto* at = static_cast<const std::byte*>(o.at);
    return o.live && from < at + sizeof opaque && at < from + bytes;
  });
}

}  // namespace ov::sim
