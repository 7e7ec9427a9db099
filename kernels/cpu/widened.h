// bf16 in the kernels that work on tiles (products and attention): operands are widened whole, the arithmetic is that
// of f32, and each element of the result is rounded once, at the end. The same bits as widening tile by tile.
#pragma once
#include <cstddef>
#include <list>
#include <memory>

#include "kernels/table.h"

namespace ov::kernels::cpu {

// Memory that a thread's widened tensors gave back, for its next ones: fresh memory costs a fault every 4 KB, as much
// time as widening. It keeps at most `most` bytes, and for a request no block of more than twice its size.
class KeptBlocks {
 public:
  static constexpr std::size_t most = 48 << 20;
  static std::shared_ptr<std::byte[]> take(std::size_t bytes) {
    auto& own = of_thread();
    std::unique_ptr<std::byte[]> block;
    auto best = own.blocks_.end();
    for (auto b = own.blocks_.begin(); b != own.blocks_.end(); ++b)
      if (b->first >= bytes && b->first <= 2 * bytes && (best == own.blocks_.end() || b->first < best->first)) best = b;
    if (best != own.blocks_.end()) {
      bytes = best->first, own.kept_ -= bytes;
      block = std::move(best->second);
      own.blocks_.erase(best);
    } else {
      block.reset(new std::byte[bytes]);
    }
    return {block.release(), [bytes](std::byte* p) { of_thread().give(std::unique_ptr<std::byte[]>(p), bytes); }};
  }

 private:
  static KeptBlocks& of_thread() {
    thread_local KeptBlocks own;
    return own;
  }
  void give(std::unique_ptr<std::byte[]> block, std::size_t bytes) {
    if (bytes > most) return;
    while (kept_ + bytes > most) kept_ -= blocks_.begin()->first, blocks_.erase(blocks_.begin());
    kept_ += bytes;
    blocks_.emplace_back(bytes, std::move(block));
  }
  std::list<std::pair<std::size_t, std::unique_ptr<std::byte[]>>> blocks_;  // the one given back longest ago first
  std::size_t kept_ = 0;
};

// Host memory of x's shape in Accum<T>; `filled` with x. A null tensor stays null.
template <class T>
Tensor widened(const Tensor& x, bool filled = true) {
  if (!x) return {};
  const auto memory = KeptBlocks::take(sizeof(Accum<T>) * static_cast<std::size_t>(x.numel()));
  const Tensor wide =
      Tensor::borrowed(reinterpret_cast<Accum<T>*>(memory.get()), x.shape(), dtype_of<Accum<T>>(), memory);
  if (filled) copy({.y = wide, .x = x});
  return wide;
}

}  // namespace ov::kernels::cpu
