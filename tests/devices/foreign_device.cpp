#include "tests/devices/foreign_device.h"

#include <execinfo.h>
#include <sanitizer/asan_interface.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "kernels/table.h"
#include "tests/devices/arguments.h"

namespace ov::test {
namespace {

constexpr std::size_t alignment = 256, guard = 256;  // bytes; after every allocation as many that nobody may write
constexpr int unwritten = 0xff, guard_byte = 0xca;   // 0xff...: NaN in every float type, -1 in integers

constexpr std::size_t page = 4096;

std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

std::mutex devices_mutex;
std::vector<ForeignDevice*> devices;
struct sigaction before;

void on_fault(int, siginfo_t* info, void*) {
  ForeignDevice::explain_fault(info->si_addr);
  sigaction(SIGSEGV, &before, nullptr);  // the access faults again, and ends as it would have
}

template <class Args, void (*kernel)(const Args&)>
void queued(const Args& a, const char* name) {
  struct Call {
    Args args;
    std::vector<std::shared_ptr<void>> tables;
  };
  const auto call = std::make_shared<Call>(Call{a, {}});
  ForeignDevice* device = nullptr;
  std::vector<ForeignDevice::Use> uses;
  adopt(call->args, call->tables, [&](Tensor& t) {
    auto* its = dynamic_cast<ForeignDevice*>(&t.device());
    if (!its || (device && its != device)) input_error(name, ": an argument lies on ", t.device().name);
    device = its;
    const Storage& s = *t.storage();
    uses.push_back(device->use_of(name, s.data));
    static const auto nobody = std::make_shared<int>();  // an owner, so that nothing is released
    t = t.over(std::make_shared<Storage>(cpu(), device->working(s.data), s.bytes, nobody));
  });
  device->enqueue(name, Stream::compute, std::move(uses), [call] { kernel(call->args); });
}

const kernels::Table foreign_table = {
#define OV_ENTRY(name, Args) \
  .name = [](const kernels::Args& a) { queued<kernels::Args, kernels::cpu::name>(a, #name); },
    OV_KERNELS(OV_ENTRY)
#undef OV_ENTRY
};

std::size_t index_of(Stream stream) { return static_cast<std::size_t>(stream); }

}  // namespace

ForeignDevice::ForeignDevice(Policy policy, std::uint64_t seed, std::size_t capacity, const kernels::Table* table,
                             Layout layout)
    : Device(Kind::foreign, "foreign", table ? table : &foreign_table),
      policy_(policy),
      random_(seed, "streams"),
      capacity_(capacity),
      layout_(layout),
      arena_({.take = [this](std::size_t) -> void* { return std::exchange(whole_, nullptr); },
              .give = [this](void* data, std::size_t) { whole_ = data; }},
             alignment, capacity) {
  const int file = memfd_create("foreign", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(capacity)) != 0) machine_error("foreign: no memory file");
  void* untouchable = mmap(nullptr, capacity, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  void* open = mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
  close(file);
  if (untouchable == MAP_FAILED || open == MAP_FAILED) machine_error("foreign: no address space for ", capacity);
  public_ = static_cast<std::byte*>(untouchable);
  working_ = static_cast<std::byte*>(open);
  whole_ = untouchable;

  std::lock_guard lock(devices_mutex);
  devices.push_back(this);
  struct sigaction now {};
  now.sa_sigaction = on_fault;
  now.sa_flags = SA_SIGINFO | SA_ONSTACK;
  struct sigaction old {};
  sigaction(SIGSEGV, &now, &old);
  if (!(old.sa_flags & SA_SIGINFO) || old.sa_sigaction != on_fault) before = old;
}

ForeignDevice::~ForeignDevice() {
  drain();
  std::lock_guard lock(devices_mutex);
  std::erase(devices, this);
  munmap(public_, capacity_);
  munmap(working_, capacity_);
}

void* ForeignDevice::working(const void* address) const {
  return working_ + (static_cast<const std::byte*>(address) - public_);
}

bool ForeignDevice::holds(const void* address) const {
  const auto* at = static_cast<const std::byte*>(address);
  return at >= public_ && at < public_ + capacity_;
}

bool ForeignDevice::holds_working(const void* address) const {
  const auto* at = static_cast<const std::byte*>(address);
  return at >= working_ && at < working_ + capacity_;
}

std::string ForeignDevice::describe(std::size_t offset, const Allocation& a) const {
  return cat("an allocation of ", a.bytes, " bytes of ", name_of(a.segment), " at offset ", offset);
}

// The allocation that holds the offset, or the end.
std::map<std::size_t, ForeignDevice::Allocation>::iterator ForeignDevice::find(std::size_t offset) {
  auto it = allocations_.upper_bound(offset);
  if (it == allocations_.begin()) return allocations_.end();
  --it;
  return offset < it->first + std::max<std::size_t>(1, it->second.bytes) ? it : allocations_.end();
}

// ---- memory

void* ForeignDevice::obtain(std::size_t bytes, Segment segment) {
  std::lock_guard lock(mutex_);
  // Nothing queued knows this range any more: a released block is free when its streams have come past it.
  const bool fenced = layout_ == Layout::fenced;
  const std::size_t pages = round_up(bytes, page);
  void* block = arena_.allocate(fenced ? page + pages + page : bytes + guard);
  if (!block) return nullptr;
  auto offset = static_cast<std::size_t>(static_cast<std::byte*>(block) - public_);
  if (fenced) {
    offset = round_up(offset, page) + pages;
    mprotect(working_ + offset, page, PROT_NONE);
    offset -= round_up(bytes, 16);
  }
  const std::size_t behind = fenced ? round_up(bytes, 16) - bytes : guard;
  ASAN_UNPOISON_MEMORY_REGION(working_ + offset, bytes + behind);
  std::memset(working_ + offset, unwritten, bytes);
  std::memset(working_ + offset + bytes, guard_byte, behind);
  ASAN_POISON_MEMORY_REGION(working_ + offset + bytes, behind);
  allocations_[offset] = {bytes, ++generations_, segment, block, behind};
  return public_ + offset;
}

void ForeignDevice::give_back(void* data, std::size_t) noexcept {
  std::lock_guard lock(mutex_);
  const auto offset = static_cast<std::size_t>(static_cast<std::byte*>(data) - public_);
  allocations_.at(offset).released = true;
  push(Stream::compute, {.what = "release", .run = [this, offset] { free_now(offset); }});
}

void ForeignDevice::free_now(std::size_t offset) {
  const auto it = allocations_.find(offset);
  const Allocation a = it->second;
  const auto* after = reinterpret_cast<const unsigned char*>(working_ + offset + a.bytes);
  ASAN_UNPOISON_MEMORY_REGION(after, a.guard);
  const bool intact = std::all_of(after, after + a.guard, [](unsigned char c) { return c == guard_byte; });
  std::memset(working_ + offset, unwritten, a.bytes);
  ASAN_POISON_MEMORY_REGION(working_ + offset, a.bytes + a.guard);
  if (layout_ == Layout::fenced) mprotect(working_ + offset + a.bytes + a.guard, page, PROT_READ | PROT_WRITE);
  allocations_.erase(it);
  arena_.release(a.block);
  if (!intact) throw std::logic_error("foreign: somebody wrote past the end of " + describe(offset, a));
}

ForeignDevice::Use ForeignDevice::use_of(const char* what, const void* address) {
  std::lock_guard lock(mutex_);
  const auto offset = static_cast<std::size_t>(static_cast<const std::byte*>(address) - public_);
  const auto it = find(offset);
  if (it == allocations_.end())
    throw std::logic_error(cat("foreign: ", what, " is given memory that was never allocated or has been released"));
  if (it->second.released)
    throw std::logic_error(cat("foreign: ", what, " is given ", describe(it->first, it->second), ", released before"));
  return {it->first, it->second.generation};
}

// ---- queues

void ForeignDevice::push(Stream stream, Node node) {
  Queue& q = queues_[index_of(stream)];
  q.nodes.push_back(std::move(node));
  ++q.queued;
  progress();
}

void ForeignDevice::enqueue(const char* what, Stream stream, std::vector<Use> uses, std::function<void()> run) {
  std::lock_guard lock(mutex_);
  push(stream, {.what = what, .uses = std::move(uses), .run = std::move(run)});
}

void ForeignDevice::wait(Stream waiting, Stream awaited) {
  std::lock_guard lock(mutex_);
  push(waiting,
       {.what = "wait", .awaited = static_cast<int>(index_of(awaited)), .until = queues_[index_of(awaited)].queued});
}

bool ForeignDevice::run_head(std::size_t stream) {
  Queue& q = queues_[stream];
  if (q.nodes.empty()) return false;
  if (const Node& head = q.nodes.front(); head.awaited >= 0) {
    if (queues_[static_cast<std::size_t>(head.awaited)].done < head.until) return false;
  }
  const Node node = std::move(q.nodes.front());
  q.nodes.pop_front();
  ++q.done;
  ++ran_;
  const bool release = std::strcmp(node.what, "release") == 0;
  if (!node.run || (error_ && !release)) return true;  // after a fault the rest would work on garbage
  try {
    for (const Use& use : node.uses) {
      const auto it = allocations_.find(use.offset);
      if (it == allocations_.end() || it->second.generation != use.generation)
        throw std::logic_error(cat("foreign: ", node.what, " runs when its memory has been released (offset ",
                                   use.offset,
                                   "): its stream does not wait for what it should, or nobody waits for it"));
    }
    node.run();
  } catch (...) {
    if (!error_) error_ = std::current_exception();
  }
  return true;
}

// After every call: what the policy lets run now.
void ForeignDevice::progress() {
  if (draining_ || policy_ == Policy::lazy || policy_ == Policy::copies_first) return;
  draining_ = true;
  if (policy_ == Policy::eager) {
    while (run_head(0) || run_head(1)) {}
  } else {
    for (std::uint64_t n = random_.below(draws_++, 4); n > 0; --n) run_head(random_.below(draws_++, queues_.size()));
  }
  draining_ = false;
}

void ForeignDevice::drain() {
  std::lock_guard lock(mutex_);
  draining_ = true;
  const auto next = [&] {
    if (policy_ == Policy::copies_first) return run_head(1) || run_head(0);
    if (policy_ != Policy::random) return run_head(0) || run_head(1);
    const std::size_t first = random_.below(draws_++, queues_.size());
    return run_head(first) || run_head(1 - first);
  };
  while (next()) {}
  draining_ = false;
}

void ForeignDevice::synchronize() {
  drain();
  std::exception_ptr error;
  {
    std::lock_guard lock(mutex_);
    std::swap(error, error_);
  }
  if (error) std::rethrow_exception(error);
}

std::size_t ForeignDevice::queued() const {
  std::lock_guard lock(mutex_);
  return queues_[0].nodes.size() + queues_[1].nodes.size();
}

// ---- copies

void ForeignDevice::copy_in(void* to, const void* from, std::size_t bytes, Stream stream) {
  const auto* source = static_cast<const std::byte*>(from);
  enqueue("copy_in", stream, {use_of("copy_in", to)},
          [target = working(to), bytes = std::vector<std::byte>(source, source + bytes)] {
            std::memcpy(target, bytes.data(), bytes.size());
          });
}

void ForeignDevice::copy_out(void* to, const void* from, std::size_t bytes, Stream stream) {
  std::memset(to, unwritten, bytes);  // a host that does not wait finds NaN
  ++reads_;
  enqueue("copy_out", stream, {use_of("copy_out", from)},
          [to, source = working(from), bytes] { std::memcpy(to, source, bytes); });
}

// ---- faults

void ForeignDevice::explain_fault(void* address) {
  const auto* at = static_cast<const std::byte*>(address);
  for (ForeignDevice* d : devices) {
    const bool by_kernel = d->holds_working(at);
    if (!by_kernel && !d->holds(at)) continue;
    const auto offset = static_cast<std::size_t>(at - (by_kernel ? d->working_ : d->public_));
    auto it = d->find(offset);
    std::string where = cat("offset ", offset, ", which is not allocated");
    if (it != d->allocations_.end()) {
      where = cat("byte ", offset - it->first, " of ", d->describe(it->first, it->second));
    } else if (it = d->allocations_.lower_bound(offset); by_kernel && it != d->allocations_.begin()) {
      --it;
      where = cat("byte ", offset - it->first, ", past the end of ", d->describe(it->first, it->second));
    }
    dprintf(2, "%s: %s\n", by_kernel ? "a kernel leaves its memory" : "the host touches foreign memory", where.c_str());
    void* frames[32];
    backtrace_symbols_fd(frames, backtrace(frames, 32), 2);
  }
}

}  // namespace ov::test
