#include "tensor/device.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "base/error.h"
#include "base/sanitizer.h"
#include "tensor/arena.h"

namespace ov {
namespace {

// Size classes: four steps to each power of two, so at most a quarter of a block is unused.
struct SizeClass {
  int index;
  std::size_t bytes;
};

SizeClass size_class(std::size_t bytes) {
  if (bytes <= 256) return {static_cast<int>((bytes + 63) / 64), bytes ? (bytes + 63) / 64 * 64 : 64};
  const int log = std::bit_width(bytes - 1) - 1;  // 2^log < bytes <= 2^(log+1)
  const std::size_t step = std::size_t{1} << (log - 2);
  const std::size_t steps = (bytes + step - 1) / step;  // 5 .. 8
  return {log * 4 + static_cast<int>(steps) - 32 + 8, steps * step};
}

constexpr bool keep_blocks = !address_sanitized;  // let the sanitizer see every allocation's end

thread_local Device::Share* innermost = nullptr;  // of this thread

}  // namespace

const char* name_of(Segment segment) {
  static const char* names[segment_count] = {"weights", "gradients", "optimizer", "activations", "workspace", "data"};
  return names[static_cast<int>(segment)];
}

void* Device::allocate(std::size_t bytes, Segment segment) {
  void* data = obtain(bytes, segment);
  if (!data && has_data()) {
    flush();
    data = obtain(bytes, segment);
  }
  if (!data && has_data())
    machine_error("device ", name, ": out of memory: ", bytes, " bytes asked for ", name_of(segment), ", ",
                  memory().total, " in use");
  tally(static_cast<std::int64_t>(bytes), segment);
  return data;
}

void Device::release(void* data, std::size_t bytes, Segment segment) noexcept {
  tally(-static_cast<std::int64_t>(bytes), segment);
  give_back(data, bytes);
}

void Device::tally(std::int64_t bytes, Segment segment) noexcept {
  const auto add = [&](MemoryUse& use) {
    const auto s = static_cast<std::size_t>(segment);
    use.bytes[s] += bytes;
    use.total += bytes;
    use.peak[s] = std::max(use.peak[s], use.bytes[s]);
    use.total_peak = std::max(use.total_peak, use.total);
  };
  for (Share* share = innermost; share; share = share->outer_)
    if (&share->device_ == this) return add(share->use_);
  std::lock_guard lock(mutex_);
  add(use_);
}

Device::Share::Share(Device& device) : device_(device), outer_(std::exchange(innermost, this)) {}

MemoryUse Device::Share::close() {
  if (!std::exchange(open_, false)) return use_;
  innermost = outer_;
  std::lock_guard lock(device_.mutex_);
  for (std::size_t s = 0; s < segment_count; ++s) device_.use_.bytes[s] += use_.bytes[s];
  device_.use_.total += use_.total;
  return use_;
}

void Device::overlapped(const std::vector<MemoryUse>& shares, std::size_t at_once) {
  const auto highest = [&](auto now, auto peak) {
    std::vector<std::int64_t> rise;  // over what a share has left, which `use_` holds by now
    for (const MemoryUse& m : shares) rise.push_back(peak(m) - now(m));
    std::sort(rise.rbegin(), rise.rend());
    std::int64_t sum = now(use_);
    for (std::size_t i = 0; i < std::min(at_once, rise.size()); ++i) sum += rise[i];
    return sum;
  };
  std::lock_guard lock(mutex_);
  for (std::size_t s = 0; s < segment_count; ++s)
    use_.peak[s] = std::max(use_.peak[s], highest([s](const MemoryUse& m) { return m.bytes[s]; },
                                                  [s](const MemoryUse& m) { return m.peak[s]; }));
  use_.total_peak = std::max(use_.total_peak, highest([](const MemoryUse& m) { return m.total; },
                                                      [](const MemoryUse& m) { return m.total_peak; }));
}

MemoryUse Device::memory() const {
  std::lock_guard lock(mutex_);
  return use_;
}

void Device::reset_peaks() {
  std::lock_guard lock(mutex_);
  use_.peak = use_.bytes;
  use_.total_peak = use_.total;
}

// An arena, and in front of it for each thread a shelf of the small blocks it has freed, by size class: its caches may
// still hold them. A thread whose shelf is empty looks at the others'.
struct HostDevice::Memory {
  static constexpr std::size_t alignment = 64, chunk = std::size_t{32} << 20, small = std::size_t{1} << 20;  // bytes
  // What a step keeps is more than the processor's table of 4 KB pages reaches, and a long stride meets a new page with
  // every row. The system may say no.
  static constexpr std::size_t huge_page = std::size_t{2} << 20;
  static void want_huge_pages(void* data, std::size_t bytes) {
#if defined(__linux__)
    ::madvise(data, bytes / huge_page * huge_page, MADV_HUGEPAGE);
#else
    (void)data, (void)bytes;
#endif
  }
  struct Free {
    Free* next;
  };
  static constexpr std::size_t classes = 96, shelf_count = 16;  // threads beyond that share
  struct Shelf {
    std::mutex mutex;
    std::array<Free*, classes> free{};
    Free* take(std::size_t size_class) {
      std::lock_guard lock(mutex);
      Free* block = free[size_class];
      if (block) free[size_class] = block->next;
      return block;
    }
  };
  static std::size_t own_shelf() {
    static std::atomic<std::size_t> threads{0};
    thread_local const std::size_t mine = threads++ % shelf_count;
    return mine;
  }
  explicit Memory(std::size_t limit)
      : arena({.take = [this, limit](std::size_t bytes) -> void* {
                 if (bytes > limit - std::min(limit, held)) return nullptr;
                 void* data = nullptr;  // aligned_alloc would take whole multiples of the alignment alone
                 if (::posix_memalign(&data, bytes < huge_page ? alignment : huge_page, bytes) != 0) return nullptr;
                 held += bytes;
                 if (bytes >= huge_page) want_huge_pages(data, bytes);
                 return data;
               },
               .give =
                   [this](void* data, std::size_t bytes) {
                     held -= bytes;
                     std::free(data);
                   }},
              alignment, keep_blocks ? chunk : 0) {}

  std::size_t held = 0;  // bytes that the system gave; the arena's lock guards it
  Arena arena;
  std::array<Shelf, shelf_count> shelves;
};

HostDevice::HostDevice(Kind kind, std::string name, const kernels::Table* table, std::size_t limit)
    : Device(kind, std::move(name), table), memory_(std::make_unique<Memory>(limit)) {}

HostDevice::~HostDevice() = default;

void HostDevice::copy_in(void* to, const void* from, std::size_t bytes, Stream) { std::memcpy(to, from, bytes); }
void HostDevice::copy_out(void* to, const void* from, std::size_t bytes, Stream) { std::memcpy(to, from, bytes); }

void* HostDevice::obtain(std::size_t bytes, Segment) {
  if (!keep_blocks || bytes > Memory::small) return memory_->arena.allocate(bytes);
  const SizeClass c = size_class(bytes);
  for (std::size_t i = 0, own = Memory::own_shelf(); i < Memory::shelf_count; ++i)
    if (void* block = memory_->shelves[(own + i) % Memory::shelf_count].take(static_cast<std::size_t>(c.index)))
      return block;
  return memory_->arena.allocate(c.bytes);
}

void HostDevice::give_back(void* data, std::size_t bytes) noexcept {
  if (!keep_blocks || bytes > Memory::small) return memory_->arena.release(data);
  const auto index = static_cast<std::size_t>(size_class(bytes).index);
  Memory::Shelf& shelf = memory_->shelves[Memory::own_shelf()];
  std::lock_guard lock(shelf.mutex);
  shelf.free[index] = new (data) Memory::Free{shelf.free[index]};
}

void HostDevice::flush() {
  for (Memory::Shelf& shelf : memory_->shelves) {
    std::lock_guard lock(shelf.mutex);
    for (Memory::Free*& block : shelf.free)
      while (block) memory_->arena.release(std::exchange(block, block->next));
  }
  memory_->arena.flush();
}

Device& cpu() {
  static HostDevice* device = new HostDevice(Device::Kind::cpu, "cpu", nullptr);  // outlives every tensor
  return *device;
}

MetaDevice::MetaDevice() : Device(Kind::meta, "meta", nullptr) {}

}  // namespace ov
