// The shared memory of one block: pieces with guard bytes on both sides, filled with NaN bytes when handed out.
#pragma once
#include <cstddef>
#include <vector>

namespace ov::sim {

class SharedMemory {
 public:
  // What a block may have: 48 KB declared in the kernel; in all what its GPU has, at most this (9.0 and 10.0).
  static constexpr std::size_t static_limit = 48 << 10, largest_limit = 227 << 10;

  SharedMemory();
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;

  void begin_block(std::size_t dynamic_bytes, std::size_t limit);  // limit: of both kinds together
  void* dynamic() const { return pieces_.empty() ? nullptr : pieces_.front().data; }
  std::size_t dynamic_bytes() const { return dynamic_bytes_; }
  void* piece(const void* key, std::size_t bytes);  // the same memory for the same key until the block ends; null: full
  bool holds(const void* data, std::size_t bytes) const;  // all of it within one piece
  bool guards_intact() const;                             // false when something wrote just outside a piece

 private:
  struct Piece {
    const void* key;
    std::byte* data;
    std::size_t bytes;
  };
  std::byte* add(const void* key, std::size_t bytes);

  std::byte* arena_;
  std::size_t used_ = 0, static_bytes_ = 0, dynamic_bytes_ = 0, limit_ = 0;
  std::vector<Piece> pieces_;
};

}  // namespace ov::sim
