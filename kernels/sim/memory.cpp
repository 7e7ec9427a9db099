#include "kernels/sim/memory.h"

#include <execinfo.h>
#include <sanitizer/asan_interface.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "base/error.h"
#include "base/hash.h"

namespace ov::sim {
namespace {

constexpr std::size_t alignment = 256, guard = 256, page = 4096;
constexpr int unwritten = 0xff, guard_byte = 0xca;
constexpr std::size_t most_filled = std::size_t{256} << 20;  // larger blocks stay as the system gives them, cheap

std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

std::string described(const SimMemory::Block& b) {
  return cat("an allocation of ", b.bytes, " bytes of ", name_of(b.segment), " at offset ", b.offset);
}

std::mutex memories_mutex;
std::vector<const SimMemory*> memories;
struct sigaction before;

void on_fault(int, siginfo_t* info, void*) {
  SimMemory::explain_fault(info->si_addr);
  sigaction(SIGSEGV, &before, nullptr);  // the access faults again, and ends as it would have
}

}  // namespace

SimMemory::SimMemory(std::size_t capacity, bool fenced)
    : capacity_(capacity),
      fenced_(fenced),
      arena_({.take = [this](std::size_t bytes) -> void* {
                return bytes <= capacity_ ? std::exchange(whole_, nullptr) : nullptr;
              },
              .give = [this](void* data, std::size_t) { whole_ = data; }},
             alignment, capacity) {
  const int file = memfd_create("simulated GPU", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(capacity)) != 0) machine_error("sim: no memory file");
  void* untouchable = mmap(nullptr, capacity, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  void* open = mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
  close(file);
  if (untouchable == MAP_FAILED || open == MAP_FAILED) machine_error("sim: no address space for ", capacity);
  public_ = static_cast<std::byte*>(untouchable);
  working_ = static_cast<std::byte*>(open);
  whole_ = untouchable;

  const std::lock_guard lock(memories_mutex);
  memories.push_back(this);
  struct sigaction now {};
  now.sa_sigaction = on_fault;
  now.sa_flags = SA_SIGINFO | SA_ONSTACK;
  struct sigaction old {};
  sigaction(SIGSEGV, &now, &old);
  if (!(old.sa_flags & SA_SIGINFO) || old.sa_sigaction != on_fault) before = old;
}

SimMemory::~SimMemory() {
  const std::lock_guard lock(memories_mutex);
  std::erase(memories, this);
  ASAN_UNPOISON_MEMORY_REGION(working_, capacity_);
  munmap(public_, capacity_);
  munmap(working_, capacity_);
}

gpu::Runtime::Layout SimMemory::layout(std::size_t bytes) const {
  if (!fenced_) return {alignment, bytes + guard, 0};
  const std::size_t pages = round_up(std::max<std::size_t>(bytes, 1), page);
  return {page, pages + page, pages - round_up(bytes, 16)};
}

void* SimMemory::working(const void* address) const { return working_ + offset_of(address); }

bool SimMemory::holds(const void* address) const {
  const auto* at = static_cast<const std::byte*>(address);
  return at >= public_ && at < public_ + capacity_;
}

bool SimMemory::holds_working(const void* address) const {
  const auto* at = static_cast<const std::byte*>(address);
  return at >= working_ && at < working_ + capacity_;
}

// The block that holds the offset, or the end.
SimMemory::Blocks::const_iterator SimMemory::find(const Blocks& blocks, std::size_t offset) {
  auto it = blocks.upper_bound(offset);
  if (it == blocks.begin()) return blocks.end();
  --it;
  return offset < it->first + std::max<std::size_t>(1, it->second->bytes) ? it : blocks.end();
}

// ---- the host's clock

SimMemory::Use SimMemory::hand_out(const void* address, std::size_t bytes, Segment segment) {
  const std::size_t offset = offset_of(address), behind = fenced_ ? round_up(bytes, 16) - bytes : guard;
  // Retired blocks below it are forgotten.
  auto it = handed_out_.lower_bound(offset);
  if (it != handed_out_.begin() && std::prev(it)->first + std::prev(it)->second->bytes > offset) --it;
  while (it != handed_out_.end() && it->first < offset + bytes + behind) {
    if (!it->second->retired) throw std::logic_error("sim: a block is handed out over " + described(*it->second));
    it = handed_out_.erase(it);
  }
  return handed_out_[offset] = std::make_shared<Block>(Block{offset, bytes, behind, segment});
}

SimMemory::Use SimMemory::retire(const void* address) {
  const Use block = handed_out_.at(offset_of(address));
  block->retired = true;
  return block;
}

SimMemory::Use SimMemory::use_of(const char* what, const void* address) const {
  const auto it = find(handed_out_, offset_of(address));
  if (it == handed_out_.end())
    throw std::logic_error(cat("sim: ", what, " is given memory that was never allocated or has been released"));
  if (it->second->retired)
    throw std::logic_error(cat("sim: ", what, " is given ", described(*it->second), ", released before"));
  return it->second;
}

SimMemory::Use SimMemory::require_within(const char* what, const void* address, std::size_t bytes) const {
  const Use block = use_of(what, address);
  const std::size_t begin = offset_of(address) - block->offset;
  if (bytes > block->bytes - begin)
    throw std::logic_error(
        cat("sim: ", what, " is given bytes ", begin, " to ", begin + bytes, " of ", described(*block)));
  return block;
}

// ---- the streams' clock

void SimMemory::begin(const Use& b) {
  const auto next = there_.lower_bound(b->offset);
  for (const auto& other : {next, next == there_.begin() ? there_.end() : std::prev(next)})
    if (other != there_.end() && other->first < b->offset + b->bytes && b->offset < other->first + other->second->bytes)
      throw std::logic_error("sim: memory is handed out that queued work still uses: " + described(*other->second));
  b->there = true;
  there_[b->offset] = b;
  std::byte* at = working_ + b->offset;
  ASAN_UNPOISON_MEMORY_REGION(at, b->bytes + b->guard);
  if (b->bytes <= most_filled) std::memset(at, unwritten, b->bytes);
  std::memset(at + b->bytes, guard_byte, b->guard);
  ASAN_POISON_MEMORY_REGION(at + b->bytes, b->guard);
  if (fenced_) mprotect(at + b->bytes + b->guard, page, PROT_NONE);
}

void SimMemory::end(const Use& b) {
  if (!b->there) return;  // the fault that kept it from beginning has been told
  b->there = false;
  there_.erase(b->offset);
  std::byte* at = working_ + b->offset;
  const auto* after = reinterpret_cast<const unsigned char*>(at + b->bytes);
  ASAN_UNPOISON_MEMORY_REGION(after, b->guard);
  const bool intact = std::all_of(after, after + b->guard, [](unsigned char c) { return c == guard_byte; });
  if (b->bytes <= most_filled) std::memset(at, unwritten, b->bytes);
  ASAN_POISON_MEMORY_REGION(at, b->bytes + b->guard);
  if (fenced_) mprotect(at + b->bytes + b->guard, page, PROT_READ | PROT_WRITE);
  if (!intact) throw std::logic_error("sim: somebody wrote past the end of " + described(*b));
}

void SimMemory::require_there(const char* what, const Block& b) {
  if (!b.there)
    throw std::logic_error(cat("sim: ", what, " runs when its memory has been released, or before it is there (",
                               described(b), "): its stream does not wait for what it should, or nobody waits for it"));
}

// ---- the host's memory

bool mapped(std::uint64_t address) {
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  unsigned char resident = 0;
  return mincore(reinterpret_cast<void*>(address / page * page), 1, &resident) == 0;
}

std::uint64_t hash_of(const void* data, std::size_t bytes) {
  std::uint64_t h = bytes;
  for (std::size_t i = 0; i < bytes; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, static_cast<const std::byte*>(data) + i, std::min<std::size_t>(8, bytes - i));
    h = mix64(h ^ word) + i;
  }
  return h;
}

// ---- faults

void SimMemory::explain_fault(const void* address) {
  for (const SimMemory* m : memories) {
    const bool by_kernel = m->holds_working(address);
    if (!by_kernel && !m->holds(address)) continue;
    const auto offset =
        static_cast<std::size_t>(static_cast<const std::byte*>(address) - (by_kernel ? m->working_ : m->public_));
    const Blocks& blocks = by_kernel ? m->there_ : m->handed_out_;
    auto it = find(blocks, offset);
    std::string where = cat("offset ", offset, ", which is not allocated");
    if (it != blocks.end()) {
      where = cat("byte ", offset - it->first, " of ", described(*it->second));
    } else if (it = blocks.lower_bound(offset); by_kernel && it != blocks.begin()) {
      --it;
      where = cat("byte ", offset - it->first, ", past the end of ", described(*it->second));
    }
    dprintf(2, "%s: %s\n", by_kernel ? "a kernel leaves its memory" : "the host touches the device's memory",
            where.c_str());
    void* frames[32];
    backtrace_symbols_fd(frames, backtrace(frames, 32), 2);
  }
}

}  // namespace ov::sim
