#include "kernels/sim/shared_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace ov::sim {
namespace {

constexpr std::size_t alignment = 128, guard_bytes = 128;
constexpr std::size_t arena_bytes = 2 * SharedMemory::largest_limit;  // room for the guards of many small pieces
constexpr auto guard_value = std::byte{0xa5}, poison = std::byte{0xff};

std::size_t round_up(std::size_t n) { return (n + alignment - 1) / alignment * alignment; }

}  // namespace

SharedMemory::SharedMemory() : arena_(static_cast<std::byte*>(std::aligned_alloc(alignment, arena_bytes))) {
  if (!arena_) machine_error("kernels/sim: no memory for the shared memory of a block (", arena_bytes, " bytes)");
}

SharedMemory::~SharedMemory() { std::free(arena_); }

void SharedMemory::begin_block(std::size_t dynamic_bytes, std::size_t limit) {
  pieces_.clear();
  used_ = static_bytes_ = 0;
  dynamic_bytes_ = dynamic_bytes, limit_ = limit;
  add(nullptr, dynamic_bytes);
}

void* SharedMemory::piece(const void* key, std::size_t bytes) {
  for (const Piece& p : pieces_)
    if (p.key == key) return p.data;
  static_bytes_ += bytes;
  const bool fits = static_bytes_ <= static_limit && static_bytes_ + dynamic_bytes_ <= limit_ &&
                    used_ + round_up(bytes) + 2 * guard_bytes + alignment <= arena_bytes;
  return fits ? add(key, bytes) : nullptr;
}

// | guard | data | guard that starts with the first byte after data and fills up to the alignment |
std::byte* SharedMemory::add(const void* key, std::size_t bytes) {
  std::byte* data = arena_ + used_ + guard_bytes;
  std::byte* end = arena_ + used_ + guard_bytes + round_up(bytes) + guard_bytes;
  std::fill(arena_ + used_, data, guard_value);
  std::fill(data, data + bytes, poison);
  std::fill(data + bytes, end, guard_value);
  used_ = static_cast<std::size_t>(end - arena_);
  pieces_.push_back({key, data, bytes});
  return data;
}

bool SharedMemory::holds(const void* data, std::size_t bytes) const {
  const auto* at = static_cast<const std::byte*>(data);
  return std::any_of(pieces_.begin(), pieces_.end(),
                     [&](const Piece& p) { return at >= p.data && at + bytes <= p.data + p.bytes; });
}

bool SharedMemory::guards_intact() const {
  const auto intact = [](const std::byte* begin, const std::byte* end) {
    return std::all_of(begin, end, [](std::byte b) { return b == guard_value; });
  };
  return std::all_of(pieces_.begin(), pieces_.end(), [&](const Piece& p) {
    return intact(p.data - guard_bytes, p.data) && intact(p.data + p.bytes, p.data + round_up(p.bytes) + guard_bytes);
  });
}

}  // namespace ov::sim
