// The streams and events of SimRuntime, and what runs next.
#include <algorithm>

#include "kernels/sim/runtime_queue.h"
#include "kernels/sim/scheduler.h"

namespace ov::sim {
namespace {

thread_local std::vector<SimMemory::Use> uses;  // of the launch whose parameters this thread is moving

}  // namespace

// ---- a launch

void SimRuntime::Queue::relocate(std::uint64_t* words, std::size_t count) {
  try {
    move(words, count);
  } catch (...) {
    uses.clear();  // this launch will not be
    throw;
  }
}

void SimRuntime::Queue::move(std::uint64_t* words, std::size_t count) {
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

void SimRuntime::Queue::reaches(const char* what, const void* address, std::size_t bytes) {
  const std::lock_guard lock(runtime.mutex_);
  if (runtime.memory_.holds(address)) runtime.memory_.require_within(what, address, bytes);
}

void SimRuntime::Queue::enqueue(const char* what, gpu::Place place, std::function<void()> run) {
  const std::lock_guard lock(runtime.mutex_);
  runtime.require_current(place);
  ++runtime.counts_.launches;
  if (runtime.fails_in_ > 0 && --runtime.fails_in_ == 0) run = [] { throw KernelFault("planted"); };
  runtime.push(*this, {.what = what, .place = place, .uses = std::exchange(uses, {}), .run = std::move(run)});
}

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
      const CapabilityScope limits(capability_);
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
