#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

// Adjoint of each other: y_r = rows r of Σ_s x_s    dx_r = all rows of dy_0, dy_1, ..
Var reduce_rows(const Var& x, Communicator& ranks) {
  const Tensor own = rows_of_rank(x.value, ranks, ranks.rank()), y(own.shape(), own.dtype(), own.device());
  Parts parts;
  for (int r = 0; r < ranks.ranks(); ++r) parts.push_back(rows_of_rank(x.value, ranks, r));
  ranks.reduce_scatter(y, parts, ranks.ranks());

  return record({.op = Op::reduce_rows, .inputs = {x}, .outputs = {y}, .backward = [&ranks](const Node&, Grads& d) {
                   Parts parts;
                   for (int r = 0; r < ranks.ranks(); ++r) parts.push_back(rows_of_rank(d.in[0], ranks, r));
                   parts[static_cast<std::size_t>(ranks.rank())].copy_from(d.out[0]);
                   ranks.all_gather(parts);
                 }});
}

extern const OpRow reduce_rows_row;
const OpRow reduce_rows_row = {
    .op = Op::reduce_rows,
    .name = "reduce_rows",
    .example = [](Example& e) -> std::vector<Var> {
      return {gelu(reduce_rows(e.input({e.size(5), e.size(3)}), e.ranks()))};
    },
    .tolerance = 1e-8,
    .cost = moved_rows,
};

}  // namespace ov
