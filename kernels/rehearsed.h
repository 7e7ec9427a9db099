// What the kernels of a GPU take of its memory inside a call, and give back before they return: the table of a device
// on which nothing runs (`plan`), whose entries take the same and do nothing else.
//
// CPU kernels take nothing of their device: what they need lies on the stack, or in memory that a thread keeps for
// itself: packed panels of products (kernels/cpu/gemm.h: at most 11 MB a thread), a row of norms and routers, the
// numbers of one attention call. It is the host's, and device.memory() does not count it.
//
//   sums over rows        a row of f32 for every 64 rows, and one for every 64 of those (kernels/cuda/row_sums.h):
//                         gradients of norms and biases, balance of experts
//   attention             a list of pieces of work, backward also Σ_d do o of every query and head; over many keys with
//                         a cache, what every span of keys has of a row (attention_spans.cu)
//   products              the bias in the library's type and at its alignment, where it has another; the library's own
//                         workspace stays, once a stream (kernels/gpu/cublaslt.h). Grouped ones: a list of tiles
//   experts, embeddings   counts by 1024 slots; the order of positions
//   regions               two numbers a pair of a region and a patch; hits by row
// tests/devices/rehearsed_kernels_test.cpp compares every call of real steps with this.
#pragma once
#include "kernels/table.h"

namespace ov::kernels {

const Table& rehearsed_table();
// Whether work goes to a GPU: to a real one, or to one that a plan rehearses.
inline bool on_gpu(const Device& device) {
  return device.kind == Device::Kind::cuda || device.table == &rehearsed_table();
}

}  // namespace ov::kernels
