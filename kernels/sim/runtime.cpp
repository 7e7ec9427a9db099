#include "kernels/sim/runtime.h"

#include <cstring>

#include "kernels/sim/runtime_queue.h"

namespace ov::sim {
namespace {

constexpr int unwritten_byte = 0xff;

thread_local int current = 0;  // GPU of this thread, as CUDA has it

}  // namespace

SimRuntime::SimRuntime(Policy policy, std::uint64_t seed, std::size_t capacity, Layout layout, int index)
    : policy_(policy), random_(seed, "streams"), index_(index), memory_(capacity, layout == Layout::fenced) {}

SimRuntime::~SimRuntime() { drain(); }

void SimRuntime::require_current(gpu::Place place) const {
  if (current != index_)
    throw std::logic_error(cat("sim: the call at ", at(place), " is for GPU ", index_, ", and this thread's is number ",
                               current, ": it has not called set_device"));
}

SimRuntime::Queue& SimRuntime::queue_of(gpu::Stream s, gpu::Place place) const {
  require_current(place);
  for (const auto& q : queues_)
    if (q.get() == s) return *q;
  throw std::logic_error(cat("sim: the stream of the call at ", at(place), " is none of this GPU's"));
}

SimRuntime::Recorded& SimRuntime::event_of(gpu::Event e, gpu::Place place) const {
  require_current(place);
  for (const auto& r : events_)
    if (r.get() == reinterpret_cast<Recorded*>(e)) return *r;
  throw std::logic_error(cat("sim: the event of the call at ", at(place), " is none of this GPU's"));
}

void SimRuntime::set_device(int index, gpu::Place) { current = index; }

int SimRuntime::attribute(gpu::Attribute a, int, gpu::Place) {
  const Generation& g = generation_of(capability_);
  switch (a) {
    case gpu::Attribute::multiprocessors: return g.multiprocessors;
    case gpu::Attribute::major: return g.capability.major;
    case gpu::Attribute::minor: return g.capability.minor;
    case gpu::Attribute::shared_bytes_opt_in: return static_cast<int>(g.shared_bytes);
    case gpu::Attribute::l2_bytes: return g.l2_bytes;
  }
  return 0;
}

// ---- memory

void* SimRuntime::allocate(std::size_t bytes, gpu::Place place) {
  const std::lock_guard lock(mutex_);
  require_current(place);
  ++counts_.allocations;
  if (left_ == 0) return nullptr;
  if (left_ > 0) --left_;
  return memory_.allocate(bytes);
}

void SimRuntime::release(void* data) noexcept {  // waits for nothing: on a GPU it may, and nobody may rely on that
  const std::lock_guard lock(mutex_);
  memory_.release(data);
}

void* SimRuntime::pinned_allocate(std::size_t bytes, gpu::Place place) {
  const std::lock_guard lock(mutex_);
  require_current(place);
  ++counts_.allocations;
  std::vector<std::byte> block(bytes);
  const auto* data = block.data();
  return pinned_.emplace(data, std::move(block)).first->second.data();
}

void SimRuntime::pinned_release(void*) noexcept {}  // stays until the end: a copy may still be queued

bool SimRuntime::pinned(const void* data, std::size_t bytes) const {
  const auto* at = static_cast<const std::byte*>(data);
  auto it = pinned_.upper_bound(at);
  if (it == pinned_.begin()) return false;
  --it;
  return at + bytes <= it->first + it->second.size();
}

void SimRuntime::handed_out(void* data, std::size_t bytes, Segment segment, gpu::Stream s) {
  const std::lock_guard lock(mutex_);
  const SimMemory::Use block = memory_.hand_out(data, bytes, segment);
  if (!s) return memory_.begin(block);
  push(queue_of(s, gpu::Place::current()), {.what = "allocation",
                                            .place = gpu::Place::current(),
                                            .run = [this, block] { memory_.begin(block); },
                                            .bookkeeping = true});
}

void SimRuntime::retired(void* data, gpu::Stream s) noexcept {
  const std::lock_guard lock(mutex_);
  const SimMemory::Use block = memory_.retire(data);
  push(*static_cast<Queue*>(s), {.what = "release",
                                 .place = gpu::Place::current(),
                                 .run = [this, block] { memory_.end(block); },
                                 .bookkeeping = true});
}

void SimRuntime::host_away(gpu::Stream s) {
  const std::lock_guard lock(mutex_);
  Queue& q = *static_cast<Queue*>(s);
  force(q, q.queued);
}

void SimRuntime::unwritten(void* to, std::size_t bytes) { std::memset(to, unwritten_byte, bytes); }

SimRuntime::Counts SimRuntime::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

std::size_t SimRuntime::queued() const {
  const std::lock_guard lock(mutex_);
  std::size_t n = 0;
  for (const auto& q : queues_) n += q->nodes.size();
  return n;
}

void SimRuntime::enqueue(gpu::Stream s, const char* what, const std::vector<const void*>& addresses,
                         std::function<void()> run) {
  const std::lock_guard lock(mutex_);
  Node node{.what = what, .place = gpu::Place::current(), .run = std::move(run)};
  for (const void* address : addresses) node.uses.push_back(memory_.use_of(what, address));
  ++counts_.launches;
  push(queue_of(s, node.place), std::move(node));
}

// ---- copies

void SimRuntime::copy(void* to, const void* from, std::size_t bytes, gpu::Copy kind, gpu::Stream s, gpu::Place place) {
  const std::lock_guard lock(mutex_);
  Queue& q = queue_of(s, place);
  if (bytes == 0) return;
  const bool in = kind == gpu::Copy::to_device;
  const void *here = in ? from : to, *there = in ? to : from;
  const char* what = in ? "copy_in" : "copy_out";
  if (!pinned(here, bytes))
    throw std::logic_error(cat("sim: the copy at ", at(place), " has memory on the host's side that is not pinned"));
  Node node{.what = what, .place = place, .uses = {memory_.require_within(what, there, bytes)}};
  void* device = memory_.working(there);
  if (in) {
    node.run = [device, from, bytes, hash = hash_of(from, bytes)] {
      if (hash_of(from, bytes) != hash)
        throw std::logic_error("sim: the source of a copy was changed before the copy ran");
      std::memcpy(device, from, bytes);
    };
  } else {
    ++counts_.reads;
    std::memset(to, unwritten_byte, bytes);  // a host that does not wait finds NaN
    node.run = [device, to, bytes] { std::memcpy(to, device, bytes); };
  }
  push(q, std::move(node));
}

void SimRuntime::fill(void* to, int byte, std::size_t bytes, gpu::Stream s, gpu::Place place) {
  const std::lock_guard lock(mutex_);
  Queue& q = queue_of(s, place);
  if (bytes == 0) return;
  void* device = memory_.working(to);
  push(q, {.what = "fill", .place = place, .uses = {memory_.require_within("fill", to, bytes)}, .run = [=] {
             std::memset(device, byte, bytes);
           }});
}

}  // namespace ov::sim
