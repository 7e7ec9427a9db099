#include "tensor/arena.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace ov {

Arena::Arena(Backing source, std::size_t alignment, std::size_t chunk)
    : source_(std::move(source)), alignment_(alignment), chunk_(chunk) {}

Arena::~Arena() { flush(); }

bool Arena::grow(std::size_t bytes) {
  std::size_t size = std::max(bytes, chunk_);
  void* data = source_.take(size);
  if (!data && size > bytes) data = source_.take(size = bytes);
  if (!data) return false;
  auto* begin = static_cast<std::byte*>(data);
  blocks_[begin] = {size, true, true};
  holes_.insert({size, begin});
  held_ += size;
  return true;
}

void Arena::give(Blocks::iterator whole) {
  const auto [begin, block] = *whole;
  holes_.erase({block.bytes, begin});
  blocks_.erase(whole);
  held_ -= block.bytes;
  source_.give(begin, block.bytes);
}

void* Arena::allocate(std::size_t bytes) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  const std::size_t size = std::max(alignment_, (bytes + alignment_ - 1) / alignment_ * alignment_);
  std::lock_guard lock(mutex_);
  auto hole = holes_.lower_bound({size, nullptr});
  if (hole == holes_.end()) {
    if (!grow(size)) return nullptr;
    hole = holes_.lower_bound({size, nullptr});
  }
  const auto [room, begin] = *hole;
  holes_.erase(hole);
  const auto block = blocks_.find(begin);
  block->second.bytes = size;
  block->second.free = false;
  if (room > size) {
    blocks_.emplace_hint(std::next(block), begin + size, Block{room - size, true, false});
    holes_.insert({room - size, begin + size});
  }
  used_ += size;
  return begin;
}

void Arena::release(void* data) noexcept {
  std::lock_guard lock(mutex_);
  auto block = blocks_.find(static_cast<std::byte*>(data));
  used_ -= block->second.bytes;
  block->second.free = true;
  const auto join_next = [&](Blocks::iterator b) {  // b is in no set of holes
    const auto next = std::next(b);
    if (next == blocks_.end() || !next->second.free || next->second.first) return;
    holes_.erase({next->second.bytes, next->first});
    b->second.bytes += next->second.bytes;
    blocks_.erase(next);
  };
  join_next(block);
  if (!block->second.first) {
    if (const auto last = std::prev(block); last->second.free) {
      holes_.erase({last->second.bytes, last->first});
      last->second.bytes += block->second.bytes;
      blocks_.erase(block);
      block = last;
    }
  }
  holes_.insert({block->second.bytes, block->first});
  if (chunk_ == 0) give(block);
}

void Arena::flush() {
  std::lock_guard lock(mutex_);
  for (auto b = blocks_.begin(); b != blocks_.end();) {
    const auto next = std::next(b);
    if (b->second.free && b->second.first && (next == blocks_.end() || next->second.first)) give(b);
    b = next;
  }
}

std::size_t Arena::used() const {
  std::lock_guard lock(mutex_);
  return used_;
}

std::size_t Arena::held() const {
  std::lock_guard lock(mutex_);
  return held_;
}

std::size_t Arena::largest_hole() const {
  std::lock_guard lock(mutex_);
  return holes_.empty() ? 0 : holes_.rbegin()->first;
}

}  // namespace ov
