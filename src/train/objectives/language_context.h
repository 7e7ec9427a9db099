// A packed row as context-parallel ranks share it (parallel/context.h).
#pragma once
#include "train/objectives/language.h"

namespace ov {

SharedRow shared_row(const ModelConfig& config, const MicroBatch& batch, const LossTargets& targets, int ranks);

std::int64_t whole_tokens(const MicroBatch& batch, const SharedContext& context);
// How often each expert is chosen by the tokens of all ranks that share the row: a call of all of them.
Tensor whole_counts(const Routers& routers, const SharedContext& context);
RowPart part_of(const SharedRow& row, const MicroBatch& batch, const LossTargets& targets, Communicator& ranks,
                Device& device);

}  // namespace ov
