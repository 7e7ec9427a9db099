#include "kernels/sim/runtime.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/error.h"
#include "kernels/sim/scheduler.h"

namespace ov::sim {
namespace {

constexpr int unwritten_byte = 0xff;

thread_local int current = 0;                   // GPU of this thread, as CUDA has it
thread_local std::vector<SimMemory::Use> uses;  // of the launch whose parameters this thread is moving

std::string at(gpu::Place place) {
  const std::string_view file = place.file_name();
  return cat(file.substr(file.rfind('/') + 1), ":", place.line());
}

}  // namespace

struct SimRuntime::Queue : gpu::StreamHandle {
  explicit Queue(SimRuntime& runtime) : runtime(runtime) {}
  void relocate(std::uint64_t* words, std::size_t count) override {
    try {
      move(words, count);
    } catch (...) {
      uses.clear();  // this launch will not be
      throw;
    }
  }
  void reaches(const char* what, const void* address, std::size_t bytes) override {
    const std::lock_guard lock(runtime.mutex_);
    if (runtime.memory_.holds(address)) runtime.memory_.require_within(what, address, bytes);
  }
  void move(std::uint64_t* words, std::size_t count) {
    constexpr std::uint64_t lowest = std::uint64_t{1} << 32, end = std::uint64_t{1} << 47;  // where addresses lie
    const std::lock_guard lock(runtime.mutex_);
    for (std::uint64_t* w = words; w < words + count; ++w) {
      if (*w < lowest || *w >= end) continue;
      const auto* address = reinterpret_cast<const void*>(*w);
      if (runtime.memory_.holds(address)) {
        uses.push_back(runtime.memory_.use_of("launch", address));
        *w = reinterpret_cast<std::uint64_t>(runtime.memory_.working(address));
      } else if (runtime.memory_.holds_working(address)) {
        throw std::logic_error("sim: a kernel's parameter is a working address: somebody stored a kernel's pointer");
      } else if (mapped(*w)) {
        throw std::logic_error("sim: a kernel's parameter points to the host's memory");
      }
    }
  }
  void enqueue(const char* what, gpu::Place place, std::function<void()> run) override {
    const std::lock_guard lock(runtime.mutex_);
    runtime.require_current(place);
    ++runtime.counts_.launches;
    if (runtime.fails_in_ > 0 && --runtime.fails_in_ == 0) run = [] { throw KernelFault("planted"); };
    runtime.push(*this, {.what = what, .place = place, .uses = std::exchange(uses, {}), .run = std::move(run)});
  }

  SimRuntime& runtime;
  std::deque<Node> nodes;
  std::uint64_t queued = 0;
  std::atomic<std::uint64_t> done = 0;
};

struct SimRuntime::Recorded {
  Queue* queue = nullptr;  // null: never
  std::uint64_t until = 0;
};

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
  switch (a) {
    case gpu::Attribute::multiprocessors: return 132;
    case gpu::Attribute::major: return 9;
    case gpu::Attribute::minor: return 0;
    case gpu::Attribute::shared_bytes_opt_in: return 227 << 10;
    case gpu::Attribute::l2_bytes: return 50 << 20;
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

// ---- queues

void SimRuntime::push(Queue& q, Node node) {
  q.nodes.push_back(std::move(node));
  ++q.queued;
  progress();
}

bool SimRuntime::run_head(Queue& q) {
  if (q.nodes.empty()) return false;
  if (const Node& head = q.nodes.front(); head.awaited && head.awaited->done < head.until) return false;
  const Node node = std::move(q.nodes.front());
  q.nodes.pop_front();
  ++counts_.ran;
  const auto from = [&] { return cat("; ", node.what, " number ", counts_.ran, ", queued at ", at(node.place)); };
  std::exception_ptr error;
  if (node.run && (!error_ || node.bookkeeping)) try {  // after a fault the rest would work on garbage
      for (const SimMemory::Use& use : node.uses) SimMemory::require_there(node.what, *use);
      node.run();
    } catch (const KernelFault& e) {
      error = std::make_exception_ptr(KernelFault(e.what() + from()));
    } catch (const std::logic_error& e) {
      error = std::make_exception_ptr(std::logic_error(e.what() + from()));
    } catch (...) { error = std::current_exception(); }
  if (error && !error_) error_ = error;
  ++q.done;  // who watches learns it when the work is done
  return true;
}

// After every call: what the policy lets run now.
void SimRuntime::progress() {
  if (running_ || policy_ == Policy::lazy || policy_ == Policy::others_first || queues_.empty()) return;
  running_ = true;
  if (policy_ == Policy::eager) {
    while (std::any_of(queues_.begin(), queues_.end(), [&](const auto& q) { return run_head(*q); })) {}
  } else {
    for (std::uint64_t n = random_.below(draws_++, 4); n > 0; --n)
      run_head(*queues_[random_.below(draws_++, queues_.size())]);
  }
  running_ = false;
}

// Until the queue has come that far. What waits in it for another queue makes that one run.
void SimRuntime::force(Queue& q, std::uint64_t until) {
  running_ = true;
  while (q.done < until) {
    if (policy_ == Policy::others_first) {
      const auto other =
          std::find_if(queues_.rbegin(), queues_.rend(), [&](const auto& o) { return o.get() != &q && run_head(*o); });
      if (other != queues_.rend()) continue;
    } else if (policy_ == Policy::random && run_head(*queues_[random_.below(draws_++, queues_.size())])) {
      continue;
    }
    if (!run_head(q)) force(*q.nodes.front().awaited, q.nodes.front().until);
  }
  running_ = false;
}

void SimRuntime::drain() {
  const std::lock_guard lock(mutex_);
  for (auto q = queues_.rbegin(); q != queues_.rend(); ++q) force(**q, (*q)->queued);
}

void SimRuntime::rethrow() {
  std::exception_ptr error;
  {
    const std::lock_guard lock(mutex_);
    std::swap(error, error_);
  }
  if (error) std::rethrow_exception(error);
}

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

// ---- streams and events

gpu::Stream SimRuntime::stream_create(bool, gpu::Place place) {
  const std::lock_guard lock(mutex_);
  require_current(place);
  queues_.push_back(std::make_unique<Queue>(*this));
  return queues_.back().get();
}

void SimRuntime::stream_destroy(gpu::Stream s) noexcept {
  const std::lock_guard lock(mutex_);
  Queue& q = *static_cast<Queue*>(s);
  if (!q.nodes.empty() && !error_)
    error_ = std::make_exception_ptr(std::logic_error(cat("sim: a stream ends with work in it: ", q.nodes.size())));
  force(q, q.queued);
  std::erase_if(queues_, [&](const auto& o) { return o.get() == &q; });
}

void SimRuntime::stream_synchronize(gpu::Stream s, gpu::Place place) {
  {
    const std::lock_guard lock(mutex_);
    Queue& q = queue_of(s, place);
    ++counts_.waits;
    force(q, q.queued);
  }
  rethrow();
}

void SimRuntime::stream_wait(gpu::Stream s, gpu::Event e, gpu::Place place) {
  const std::lock_guard lock(mutex_);
  Queue& q = queue_of(s, place);
  const Recorded& r = event_of(e, place);
  if (!r.queue) throw std::logic_error(cat("sim: the event that ", at(place), " waits for was never recorded"));
  push(q, {.what = "wait", .place = place, .awaited = r.queue, .until = r.until});
}

gpu::Event SimRuntime::event_create(bool, gpu::Place place) {
  const std::lock_guard lock(mutex_);
  require_current(place);
  const std::lock_guard events(events_mutex_);
  events_.push_back(std::make_unique<Recorded>());
  return reinterpret_cast<gpu::Event>(events_.back().get());
}

void SimRuntime::event_destroy(gpu::Event e) noexcept {
  const std::lock_guard lock(mutex_);
  const std::lock_guard events(events_mutex_);
  std::erase_if(events_, [&](const auto& r) { return r.get() == reinterpret_cast<Recorded*>(e); });
}

void SimRuntime::event_record(gpu::Event e, gpu::Stream s, gpu::Place place) {
  const std::lock_guard lock(mutex_);
  Queue& q = queue_of(s, place);
  {
    const std::lock_guard events(events_mutex_);
    event_of(e, place) = {&q, q.queued};
  }
  progress();
}

bool SimRuntime::event_done(gpu::Event e, gpu::Place place) {
  const std::lock_guard lock(mutex_);
  const Recorded& r = event_of(e, place);
  if (!r.queue) throw std::logic_error(cat("sim: the event that ", at(place), " asks for was never recorded"));
  progress();
  return r.queue->done >= r.until;
}

// Runs nothing, and waits for no call.
bool SimRuntime::event_past(gpu::Event e, gpu::Place place) {
  const std::lock_guard events(events_mutex_);
  const Recorded& r = event_of(e, place);
  return r.queue && r.queue->done >= r.until;
}

void SimRuntime::event_synchronize(gpu::Event e, gpu::Place place) {
  {
    const std::lock_guard lock(mutex_);
    const Recorded r = event_of(e, place);
    if (!r.queue) throw std::logic_error(cat("sim: the event that ", at(place), " waits for was never recorded"));
    if (r.queue->done >= r.until) return;
    ++counts_.waits;
    force(*r.queue, r.until);
  }
  rethrow();
}

float SimRuntime::event_elapsed(gpu::Event, gpu::Event, gpu::Place) { return 1; }  // nothing here has a time

}  // namespace ov::sim
