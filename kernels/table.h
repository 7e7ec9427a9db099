// A device's kernels: one function pointer per kernel of the contract headers. The list below is the only one.
#pragma once
#include "kernels/adamw.h"
#include "kernels/add_rmsnorm.h"
#include "kernels/attention.h"
#include "kernels/cluster_loss.h"
#include "kernels/copy.h"
#include "kernels/cross_entropy.h"
#include "kernels/dropout.h"
#include "kernels/exp_scale.h"
#include "kernels/experts.h"
#include "kernels/gelu.h"
#include "kernels/gemm.h"
#include "kernels/l2_normalize.h"
#include "kernels/layernorm.h"
#include "kernels/margin_logits.h"
#include "kernels/nearest.h"
#include "kernels/norm_rope.h"
#include "kernels/region_attention.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/router.h"
#include "kernels/rows.h"
#include "kernels/swiglu.h"

#define OV_KERNELS(K)                                        \
  K(copy, Copy)                                              \
  K(fill, Fill)                                              \
  K(gemm, Gemm)                                              \
  K(sum_rows, SumRows)                                       \
  K(layernorm_forward, LayernormForward)                     \
  K(layernorm_backward, LayernormBackward)                   \
  K(rmsnorm_forward, RmsnormForward)                         \
  K(rmsnorm_backward, RmsnormBackward)                       \
  K(add_rmsnorm_forward, AddRmsnormForward)                  \
  K(add_rmsnorm_backward, AddRmsnormBackward)                \
  K(gelu_forward, GeluForward)                               \
  K(gelu_backward, GeluBackward)                             \
  K(swiglu_forward, SwigluForward)                           \
  K(swiglu_backward, SwigluBackward)                         \
  K(rope_forward, RopeForward)                               \
  K(rope_backward, RopeBackward)                             \
  K(norm_rope_forward, NormRopeForward)                      \
  K(norm_rope_backward, NormRopeBackward)                    \
  K(rope_table_1d, RopeTable1d)                              \
  K(rope_table_2d_forward, RopeTable2dForward)               \
  K(rope_table_2d_backward, RopeTable2dBackward)             \
  K(attention_forward, AttentionForward)                     \
  K(attention_backward, AttentionBackward)                   \
  K(embedding_forward, EmbeddingForward)                     \
  K(embedding_backward, EmbeddingBackward)                   \
  K(take_rows_forward, TakeRowsForward)                      \
  K(take_rows_backward, TakeRowsBackward)                    \
  K(insert_class_tokens_forward, InsertClassTokensForward)   \
  K(insert_class_tokens_backward, InsertClassTokensBackward) \
  K(splice_forward, SpliceForward)                           \
  K(splice_backward, SpliceBackward)                         \
  K(add, Add)                                                \
  K(cross_entropy_forward, CrossEntropyForward)              \
  K(cross_entropy_backward, CrossEntropyBackward)            \
  K(dropout, Dropout)                                        \
  K(weighted_mean, WeightedMean)                             \
  K(region_attention_forward, RegionAttentionForward)        \
  K(region_attention_backward, RegionAttentionBackward)      \
  K(l2_normalize_forward, L2NormalizeForward)                \
  K(l2_normalize_backward, L2NormalizeBackward)              \
  K(exp_scale_forward, ExpScaleForward)                      \
  K(exp_scale_backward, ExpScaleBackward)                    \
  K(margin_logits_forward, MarginLogitsForward)              \
  K(margin_logits_backward, MarginLogitsBackward)            \
  K(cluster_loss_forward, ClusterLossForward)                \
  K(cluster_loss_backward, ClusterLossBackward)              \
  K(cluster_hits, ClusterHits)                               \
  K(cluster_above, ClusterAbove)                             \
  K(router_forward, RouterForward)                           \
  K(router_backward, RouterBackward)                         \
  K(load_balance_forward, LoadBalanceForward)                \
  K(load_balance_backward, LoadBalanceBackward)              \
  K(expert_order, ExpertOrder)                               \
  K(expert_counts, ExpertCounts)                             \
  K(grouped_gemm, GroupedGemm)                               \
  K(combine_forward, CombineForward)                         \
  K(combine_backward, CombineBackward)                       \
  K(nearest, Nearest)                                        \
  K(adamw, Adamw)                                            \
  K(squared_sums, SquaredSums)                               \
  K(clip_factor, ClipFactor)

namespace ov::kernels {

struct Table {
#define OV_MEMBER(name, Args) void (*name)(const Args&) = nullptr;
  OV_KERNELS(OV_MEMBER)
#undef OV_MEMBER
};

// Runs a kernel of the device that t lives on.
template <class Args>
void run(const Tensor& t, void (*Table::*kernel)(const Args&), const char* name, const Args& args) {
  const Table* table = t.device().table;
  if (!table || !(table->*kernel)) input_error(name, ": the ", t.device().name, " device has no such kernel");
  (table->*kernel)(args);
}
#define OV_RUN(tensor, kernel, args) run(tensor, &Table::kernel, #kernel, args)

namespace cpu {
#define OV_DECLARE(name, Args) void name(const Args&);
OV_KERNELS(OV_DECLARE)
#undef OV_DECLARE
}  // namespace cpu

const Table& meta_table();  // every kernel does nothing

}  // namespace ov::kernels
