#include "comm/shared_region.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <climits>
#include <cmath>
#include <cstring>
#include <ctime>

namespace ov {

struct alignas(64) SharedRegion::FailureRecord {
  std::atomic<std::uint32_t> claimed;  // rank + 1
  std::atomic<std::uint32_t> told;
  std::int32_t speaker, exit;
  char text[longest_message + 1];
};

namespace {

constexpr std::size_t ends = 2;  // of a rank

// All that an end sends at a time lies in 4 MB, so that it stays in the caches.
std::size_t capacity_of(int ranks) {
  return std::clamp(std::bit_floor((std::size_t{4} << 20) / static_cast<std::size_t>(ranks)), std::size_t{1} << 14,
                    std::size_t{1} << 20);
}

struct Layout {
  std::size_t states, channels, rings, bytes;
  Layout(std::size_t record, int ranks) {
    const auto n = static_cast<std::size_t>(ranks);
    const auto page = [](std::size_t bytes) { return (bytes + 4095) / 4096 * 4096; };
    states = page(record);
    channels = states + page((ends * n + 1) * sizeof(RankState));  // one more: the bridge's
    rings = channels + page(ends * n * n * sizeof(Channel));
    bytes = rings + ends * n * n * capacity_of(ranks);
  }
};

}  // namespace

int SharedRegion::create(int ranks) {
  const int fd = ::memfd_create("onevision-ranks", MFD_CLOEXEC);
  if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(Layout(sizeof(FailureRecord), ranks).bytes)) != 0)
    machine_error("shared memory for ", ranks, " ranks: ", std::strerror(errno));
  return fd;
}

SharedRegion::SharedRegion(int fd, int ranks, int bridge)
    : ranks_(ranks), bridge_(bridge), capacity_(capacity_of(ranks)) {
  const Layout layout(sizeof(FailureRecord), ranks);
  bytes_ = layout.bytes;
  void* base = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) machine_error("shared memory of ", bytes_, " bytes: ", std::strerror(errno));
  base_ = static_cast<std::byte*>(base);
  failure_ = reinterpret_cast<FailureRecord*>(base_);
  states_ = reinterpret_cast<RankState*>(base_ + layout.states);
  channels_ = reinterpret_cast<Channel*>(base_ + layout.channels);
  rings_ = base_ + layout.rings;
}

SharedRegion::~SharedRegion() { ::munmap(base_, bytes_); }

// The bell is rung before `waiting` is looked at, and rung once more it does not let the kernel put anybody to sleep.
void SharedRegion::ring(int end) const {
  RankState& s = states_[end];
  s.bell.fetch_add(1);
  if (s.away.load()) return wake_bridge();
  if (s.waiting.load()) ::syscall(SYS_futex, &s.bell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void SharedRegion::ring_all() const {
  for (int e = 0; e < static_cast<int>(ends) * ranks_; ++e) ring(e);
}

int SharedRegion::bridge_end() const { return static_cast<int>(ends) * ranks_; }

void SharedRegion::wake_bridge() const {
  if (bridge_ < 0) return;
  RankState& s = states_[bridge_end()];
  const std::uint64_t one = 1;
  s.bell.fetch_add(1);
  if (s.waiting.exchange(0)) [[maybe_unused]]
    const auto written = ::write(bridge_, &one, sizeof one);
}

// To sleep and to be woken costs more than what is waited for within a sum: others run first, a few times. Who only
// looked again and again would hold a core that the other rank may need.
void SharedRegion::wait(int end, std::uint32_t seen, double seconds) const {
  RankState& s = states_[end];
  for (int i = 0; i < 20; ++i) {
    if (s.bell.load() != seen) return;
    ::sched_yield();
  }
  const double whole = std::floor(std::max(0.0, seconds));
  const timespec time{static_cast<time_t>(whole), static_cast<long>((std::max(0.0, seconds) - whole) * 1e9)};
  s.waiting.store(1);
  ::syscall(SYS_futex, &s.bell, FUTEX_WAIT, seen, &time, nullptr, 0);
  s.waiting.store(0);
}

std::size_t SharedRegion::available(int from, int to) const {
  const Channel& c = channel(from, to);
  return c.written.load(std::memory_order_acquire) - c.read.load(std::memory_order_relaxed);
}

bool SharedRegion::has_room(int from, int to, std::size_t bytes) const {
  const Channel& c = channel(from, to);
  return capacity_ - (c.written.load(std::memory_order_relaxed) - c.read.load(std::memory_order_acquire)) >= bytes;
}

// Half of the ring at a time: the reader begins while the writer goes on.
std::size_t SharedRegion::write(int from, int to, std::span<const std::byte> bytes) const {
  Channel& c = channel(from, to);
  const std::uint64_t begin = c.written.load(std::memory_order_relaxed);
  const std::size_t room = capacity_ - (begin - c.read.load(std::memory_order_acquire));
  const std::size_t n = std::min({room, bytes.size(), capacity_ / 2}), at = begin % capacity_;
  if (n == 0) return 0;
  const std::size_t first = std::min(n, capacity_ - at);
  std::memcpy(ring_of(from, to) + at, bytes.data(), first);
  std::memcpy(ring_of(from, to), bytes.data() + first, n - first);
  c.written.store(begin + n, std::memory_order_release);
  ring(to);
  return n;
}

bool SharedRegion::peek(int from, int to, std::span<std::byte> bytes) const {
  if (!holds(from, to, bytes.size())) return false;
  const std::size_t at = channel(from, to).read.load(std::memory_order_relaxed) % capacity_,
                    first = std::min(bytes.size(), capacity_ - at);
  std::memcpy(bytes.data(), ring_of(from, to) + at, first);
  std::memcpy(bytes.data() + first, ring_of(from, to), bytes.size() - first);
  return true;
}

std::size_t SharedRegion::read(int from, int to, std::span<std::byte> bytes) const {
  Channel& c = channel(from, to);
  const std::uint64_t begin = c.read.load(std::memory_order_relaxed);
  const std::size_t there = c.written.load(std::memory_order_acquire) - begin;
  const std::size_t n = std::min({there, bytes.size(), capacity_ / 2}), at = begin % capacity_;
  if (n == 0) return 0;
  const std::size_t first = std::min(n, capacity_ - at);
  std::memcpy(bytes.data(), ring_of(from, to) + at, first);
  std::memcpy(bytes.data() + first, ring_of(from, to), n - first);
  c.read.store(begin + n, std::memory_order_release);
  ring(from);
  return n;
}

bool SharedRegion::tell(int speaker, Exit exit, const std::string& text) const {
  failure_->speaker = speaker;
  failure_->exit = static_cast<std::int32_t>(exit);
  std::strncpy(failure_->text, text.c_str(), sizeof failure_->text - 1);
  failure_->told.store(1);
  ring_all();
  return true;
}

bool SharedRegion::fail(int rank, int speaker, Exit exit, const std::string& text) const {
  std::uint32_t nobody = 0;
  return failure_->claimed.compare_exchange_strong(nobody, static_cast<std::uint32_t>(rank) + 1) &&
         tell(speaker, exit, text);
}

void SharedRegion::mourn(int rank, int speaker, const std::string& text) const {
  std::uint32_t by = 0;
  if (failure_->claimed.compare_exchange_strong(by, static_cast<std::uint32_t>(rank) + 1) ||
      (by == static_cast<std::uint32_t>(rank) + 1 && !failure_->told.load()))
    tell(speaker, Exit::machine_failed, text);
}

void SharedRegion::lose(int rank) const {
  states_[rank].lost.store(1);
  ring_all();
}

void SharedRegion::end(int from, int to) const {
  channel(from, to).ended.store(1);
  ring(to);
}

bool SharedRegion::said_all(int from, int to) const {
  const RankState& s = states_[from];
  return s.lost.load() && (!s.away.load() || channel(from, to).ended.load());
}

void SharedRegion::leave(int rank) const {
  states_[rank].left.store(1);
  wake_bridge();
}

void SharedRegion::expend(int rank) const {
  states_[rank].expendable.store(1);
  wake_bridge();
}

SharedRegion::Failure SharedRegion::failure() const {
  if (!failure_->told.load()) return {};
  return {static_cast<int>(failure_->claimed.load()) - 1, failure_->speaker, static_cast<Exit>(failure_->exit),
          failure_->text};
}

}  // namespace ov
