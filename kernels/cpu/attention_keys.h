// What one row of the segment table sees, as the CPU's attention walks it: keys in blocks counted from the first key
// of the prefix.
#pragma once
#include <algorithm>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "kernels/attention.h"
#include "kernels/cpu/gemm_tile.h"
#include "kernels/cpu/head_row.h"

namespace ov::kernels::cpu {

// Memory that begins with a line of the cache; what it holds is not set. The thread keeps it for the next: a block of
// this size that is freed makes the heap tidy itself up.
template <class T>
class Lines {
 public:
  explicit Lines(std::int64_t n) : lines_(std::exchange(kept(), {})) {
    const auto need = static_cast<std::size_t>(n) * sizeof(T) / sizeof(Line) + 1;
    if (lines_.size < need) lines_ = {std::unique_ptr<Line[]>(new Line[need]), need};
  }
  ~Lines() { kept() = std::move(lines_); }
  Lines(const Lines&) = delete;
  T* data() const { return lines_.of[0].x; }

 private:
  struct alignas(64) Line {
    T x[64 / sizeof(T)];
  };
  struct Block {
    std::unique_ptr<Line[]> of;
    std::size_t size = 0;
  };
  // Taken away while in use.
  static Block& kept() {
    thread_local Block block;
    return block;
  }
  Block lines_;
};

// One tensor's rows for one head: k_THD at head h, and so on.
template <class T>
struct HeadRows {
  HeadRows(const Tensor& x, std::int64_t head) : data(x.device_data<T>() + head * x.stride(1)), stride(x.stride(0)) {}
  T* row(std::int64_t t) const { return data + t * stride; }
  T* data;
  std::int64_t stride;
};

// The table where the kernel reads it.
inline std::span<const SegmentRow> rows_of(const Tensor& segments) {
  static_assert(sizeof(SegmentRow) == 5 * sizeof(std::int64_t));
  return {reinterpret_cast<const SegmentRow*>(segments.device_data<std::int64_t>()),
          static_cast<std::size_t>(segments.dim(0))};
}

struct VisibleKeys {
  VisibleKeys(std::span<const SegmentRow> table, const SegmentRow& r, bool causal) : row(r), causal(causal) {
    if (r.prefix >= 0) prefix = table[static_cast<std::size_t>(r.prefix)];
    total = prefix.k_length + r.k_length;
  }
  // Keys that query i of the row sees: the first limit(i) ones.
  std::int64_t limit(std::int64_t i) const { return causal ? total - row.q_length + i + 1 : total; }
  // The first query that sees key j.
  std::int64_t first_query(std::int64_t j) const {
    return causal ? std::max<std::int64_t>(0, j - (total - row.q_length)) : 0;
  }
  // Where key j lies in the key array.
  std::int64_t position(std::int64_t j) const {
    return j < prefix.k_length ? prefix.k_begin + j : row.k_begin + (j - prefix.k_length);
  }

  const SegmentRow& row;
  SegmentRow prefix;  // of length 0 without one
  bool causal;
  std::int64_t total;
};

// Keys [first, first + n) of one head as n rows: in place, or gathered when the block crosses from prefix to segment.
template <class T>
HeadRows<T> key_block(const VisibleKeys& keys, HeadRows<T> x, std::int64_t first, std::int64_t n, std::int64_t D,
                      T* gathered) {
  if (keys.position(first + n - 1) - keys.position(first) == n - 1) {
    x.data = x.row(keys.position(first));
    return x;
  }
  for (std::int64_t j = 0; j < n; ++j) copy_row(D, gathered + j * D, x.row(keys.position(first + j)));
  x.data = gathered;
  x.stride = D;
  return x;
}

// Blocks of keys turned into columns, [D, attention_block], as a product with few queries reads them best. A block that
// the next row sees too (of a prefix, or by another head of the group) is turned once. For one call of a kernel: the
// keys must not change.
template <class T>
class KeyColumns {
 public:
  explicit KeyColumns(std::int64_t D) : D_(D), kept_(most_kept) {}

  // Block `index` of some row: n keys as key_block() gives them, `gathered` if it had to gather. Columns from n on
  // hold other keys up to the next multiple of a vector's width, and beyond it anything.
  const T* block(std::int64_t index, const HeadRows<T>& keys, std::int64_t n, bool gathered) {
    constexpr std::int64_t W = Lanes<T>::width;
    Kept& k = kept_[static_cast<std::size_t>(std::min<std::int64_t>(index, most_kept - 1))];
    if (k.keys == keys.data) return k.columns.data();
    k.keys = n == attention_block && !gathered ? keys.data : nullptr;
    k.columns.resize(static_cast<std::size_t>(D_ * attention_block));
    for (std::int64_t j = 0; j < n; j += W)
      pack_transposed(std::min(W, n - j), D_, keys.row(j), keys.stride, k.columns.data() + j, attention_block);
    return k.columns.data();
  }

 private:
  static constexpr std::int64_t most_kept = 32;
  struct Kept {
    const T* keys = nullptr;
    std::vector<T> columns;
  };
  std::int64_t D_;
  std::vector<Kept> kept_;
};

}  // namespace ov::kernels::cpu
