#include "autograd/registry.h"

#include <array>

namespace ov {

extern const OpRow add_row, add_rms_norm_row, all_to_all_rows_row, attention_row, cluster_loss_row, combine_experts_row,
    cross_entropy_row, dropout_row, embedding_row, exchange_rows_row, exp_scale_row, expert_rows_row, gather_rows_row,
    gelu_row, grouped_linear_row, grouped_linear_by_leaf_row, insert_class_tokens_row, l2_normalize_row, layer_norm_row,
    linear_row, linear_cross_entropy_row, load_balance_loss_row, margin_logits_row, norm_rope_row, on_gradient_row,
    recompute_row, reduce_rows_row, region_attention_row, rms_norm_row, rope_row, rope_table_2d_row, route_row,
    splice_row, split_row, swiglu_row, take_rows_row, view_row, vocabulary_cross_entropy_row;

namespace {

constexpr std::array table = {&add_row,
                              &add_rms_norm_row,
                              &all_to_all_rows_row,
                              &attention_row,
                              &cluster_loss_row,
                              &combine_experts_row,
                              &cross_entropy_row,
                              &dropout_row,
                              &embedding_row,
                              &exchange_rows_row,
                              &exp_scale_row,
                              &expert_rows_row,
                              &gather_rows_row,
                              &gelu_row,
                              &grouped_linear_row,
                              &grouped_linear_by_leaf_row,
                              &insert_class_tokens_row,
                              &l2_normalize_row,
                              &layer_norm_row,
                              &linear_row,
                              &linear_cross_entropy_row,
                              &load_balance_loss_row,
                              &margin_logits_row,
                              &norm_rope_row,
                              &on_gradient_row,
                              &recompute_row,
                              &reduce_rows_row,
                              &region_attention_row,
                              &rms_norm_row,
                              &rope_row,
                              &rope_table_2d_row,
                              &route_row,
                              &splice_row,
                              &split_row,
                              &swiglu_row,
                              &take_rows_row,
                              &view_row,
                              &vocabulary_cross_entropy_row};
static_assert(table.size() == static_cast<std::size_t>(Op::count), "every op has one row, in the order of the enum");

}  // namespace

const OpRow& row(Op op) { return *table[static_cast<std::size_t>(op)]; }

std::span<const OpRow* const> rows() { return table; }

}  // namespace ov
