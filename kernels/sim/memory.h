// The memory of the simulated GPU: one file mapped twice. Addresses that the host has point into a mapping that nobody
// may touch: a host that follows one faults, and the fault's place is named. Kernels and copies work in the other one.
//
// What the device's arena cuts from it is known block by block. Two clocks: the host's, at which a block is handed out
// and retired, and the streams', at which that comes true. Faults: work given a block that is retired by the host's
// clock, or run when the block is not there by the streams'; a block handed out over one that is still there; bytes
// written behind a block. Fresh and retired memory is 0xff: NaN in every float type, -1 in integers.
//
// fenced: a block ends at the end of a page (but for what 16-byte alignment leaves), with nothing behind it: a kernel
// that reads past the end faults, and the place is named. It costs a page or two each.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "kernels/gpu/runtime.h"
#include "tensor/arena.h"

namespace ov::sim {

class SimMemory {
 public:
  struct Block {
    std::size_t offset, bytes, guard;  // guard: bytes behind it that nobody may write
    Segment segment;
    bool retired = false;  // by the host's clock
    bool there = false;    // by the streams'
  };
  using Use = std::shared_ptr<Block>;

  SimMemory(std::size_t capacity, bool fenced);
  ~SimMemory();
  SimMemory(const SimMemory&) = delete;

  void* allocate(std::size_t bytes) { return arena_.allocate(bytes); }  // addresses of the host's; null: none left
  void release(void* data) noexcept { arena_.release(data); }
  std::size_t used() const { return arena_.used(); }
  std::size_t capacity() const { return capacity_; }
  gpu::Runtime::Layout layout(std::size_t bytes) const;

  // By the host's clock.
  Use hand_out(const void* address, std::size_t bytes, Segment segment);
  Use retire(const void* address);
  Use use_of(const char* what, const void* address) const;  // logic_error: not handed out, or retired
  // The same; and a logic_error where not all of these bytes are the block's.
  Use require_within(const char* what, const void* address, std::size_t bytes) const;
  // By the streams'.
  void begin(const Use& block);
  void end(const Use& block);
  static void require_there(const char* what, const Block& block);

  void* working(const void* address) const;
  bool holds(const void* address) const;          // among the addresses that the host has
  bool holds_working(const void* address) const;  // among those that kernels have

  static void explain_fault(const void* address);  // writes where a fault's address lies to standard error

 private:
  std::size_t offset_of(const void* address) const {
    return static_cast<std::size_t>(static_cast<const std::byte*>(address) - public_);
  }
  using Blocks = std::map<std::size_t, Use>;  // by offset
  static Blocks::const_iterator find(const Blocks& blocks, std::size_t offset);

  const std::size_t capacity_;
  const bool fenced_;
  std::byte *public_ = nullptr, *working_ = nullptr;
  void* whole_ = nullptr;  // until the arena takes it
  Arena arena_;
  Blocks handed_out_, there_;  // by the host's clock (retired ones too, until another lies over them), by the streams'
};

bool mapped(std::uint64_t address);  // whether the host has memory there
std::uint64_t hash_of(const void* data, std::size_t bytes);

}  // namespace ov::sim
