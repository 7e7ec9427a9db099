// Rows that all ranks hand to all ranks (parallel/expert.h): those of x are blocks, by the rank that they go to; those
// of y are blocks, by the rank that they come from.
//
//   y_r = (block r of x_0, block r of x_1, ..)      dx_s = (block s of dy_0, block s of dy_1, ..)
//
// It is its own adjoint, with the counts swapped. A block may have no row; nothing is sent then.
#pragma once
#include "autograd/tape.h"
#include "comm/communicator.h"

namespace ov {

using RowCounts = std::vector<std::int64_t>;  // by rank

// x [Σ go, C] -> [Σ come, C]: go[r] rows go to rank r, come[r] come from there. A call of all ranks, forward and
// backward: it runs backward even where nobody on this rank wants the gradient of x.
Var all_to_all_rows(const Var& x, const RowCounts& go, const RowCounts& come, Communicator& ranks);

}  // namespace ov
