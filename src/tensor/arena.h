// Cuts a device's memory into blocks: best fit, and a freed block is joined with free neighbours.
//
// Memory comes in chunks. What the arena knows about them it keeps elsewhere, so they may be a device's. Calls may come
// from any thread.
#pragma once
#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <utility>

namespace ov {

class Arena {
 public:
  struct Backing {
    std::function<void*(std::size_t bytes)> take;  // null when there is none
    std::function<void(void* data, std::size_t bytes)> give;
  };
  // Blocks begin at multiples of `alignment` when chunks do. With `chunk` 0 nothing is kept: every block is taken from
  // the source and given back at once.
  Arena(Backing source, std::size_t alignment, std::size_t chunk);
  ~Arena();
  Arena(const Arena&) = delete;

  void* allocate(std::size_t bytes);  // null when neither a hole nor the source has room
  void release(void* data) noexcept;
  void flush();  // chunks of which nothing is in use go back to the source

  std::size_t used() const;          // bytes in blocks, rounded to the alignment
  std::size_t held() const;          // bytes in chunks
  std::size_t largest_hole() const;  // what an allocation gets without the source

 private:
  struct Block {
    std::size_t bytes;
    bool free, first;  // first: of its chunk
  };
  using Blocks = std::map<std::byte*, Block>;
  bool grow(std::size_t bytes);
  void give(Blocks::iterator whole_chunk);

  const Backing source_;
  const std::size_t alignment_, chunk_;
  mutable std::mutex mutex_;
  Blocks blocks_;
  std::set<std::pair<std::size_t, std::byte*>> holes_;  // by size, then by address
  std::size_t used_ = 0, held_ = 0;
};

}  // namespace ov
