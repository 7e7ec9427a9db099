// ZeRO, stage 1 (Rajbhandari et al. 2020), Megatron's distributed optimiser: data parallelism in which rank r holds the
// moments of its shard of the flat buffers alone, and updates that shard.
//
//   g_shard = reduce_scatter(g)     √Σ g² from the squares of all chunks     w_shard = AdamW(g_shard, m_shard, v_shard)
//   w = all_gather(w_shard)
//
// Elements of an update do not see each other, and shards end where chunks of the norm end: the bits are those of one
// rank.
//
// Overlap with backward (parallel/overlap.h): the sum is made in buckets beside the last leaf that a rank runs, on the
// CPU and on GPUs. Each rank adds 1/N of a bucket, and what it adds goes to the rank whose shard it is of.
//
// Bytes that leave a rank in a step, for P trained parameters with gradients of a and values of b bytes, whose shard is
// P/N (the shards of others, and its own to others):
//   reduce_scatter   (N-1)/N P a, beside backward (N-1)/N (1 + 1/N) P a
//   squares          (N-1)/N P 8 / 4096
//   all_gather       (N-1)/N P b
// What is held: values and gradients of all P, moments of P / N, and masters of as many where values are bf16.
#pragma once
#include "parallel/data.h"

namespace ov {

class Zero1 : public DataParallel {
 public:
  using DataParallel::DataParallel;
  Tensor sum(const Tensor& gradients, int adding) const override;
  void sum_bucket(const Tensor& gradients, Range bucket, int adding, Communicator& ranks) const override;
  using DataParallel::own;
  Range own(int rank, std::int64_t trained) const override;
  bool sharded() const override { return true; }
  void complete_squares(const Tensor& squares) const override;
  void share_values() const override;
};

}  // namespace ov
