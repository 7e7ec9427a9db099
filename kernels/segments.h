// Who sees whom, made once a batch: checked on the host, put on the device, and read there by every layer, forward and
// backward. Never a mask tensor.
#pragma once
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace ov::kernels {

// Owns queries [q_begin, +q_length) and keys [k_begin, +k_length). Without causality a query sees all keys of its row.
// With it, the row's last query sees all of them and each query before sees one fewer (so a KV cache is k_length >
// q_length). A row may name an earlier row as its prefix: its queries see all keys of the prefix before their own.
struct SegmentRow {
  std::int64_t q_begin = 0, q_length = 0, k_begin = 0, k_length = 0;
  std::int64_t prefix = -1;  // index of an earlier row without a prefix of its own, or -1
};
using SegmentTable = std::vector<SegmentRow>;

struct Segments {
  // input_error for rows outside of `queries` and `keys`, rows that overlap, queries without keys, a wrong prefix.
  Segments(SegmentTable table, std::int64_t queries, std::int64_t keys, bool causal, Device& device);

  SegmentTable host;
  std::int64_t queries, keys;
  bool causal;
  std::int64_t pairs;  // query-key pairs that are visible: a head's forward pass takes 4 D times as many FLOPs
  Tensor rows;         // [S,5] i64: the table
};

// Region r sees rows[begin[r]] .. rows[begin[r + 1] - 1], at least one.
struct RegionTable {
  std::vector<std::int64_t> begin = {0};
  std::vector<std::int64_t> rows;
  std::int64_t regions() const { return static_cast<std::int64_t>(begin.size()) - 1; }
};

struct RegionSegments {
  // input_error for a region that sees nothing, or a row outside of `keys`.
  RegionSegments(RegionTable table, std::int64_t keys, Device& device);

  RegionTable host;
  std::int64_t keys;
  Tensor begin, rows;  // [R + 1], [visible pairs] i64
};

}  // namespace ov::kernels
