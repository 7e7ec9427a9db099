#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Tensor rows_of_rank(const Tensor& whole, const Communicator& ranks, int rank) {
  const std::int64_t n = whole.dim(0);
  return whole.slice(0, n * rank / ranks.ranks(), n * (rank + 1) / ranks.ranks());
}

// Adjoint of each other: y_r = all rows of x_0, x_1, ..    dx_r = rows r of Σ_s dy_s
Var gather_rows(const Var& x, std::int64_t rows, Communicator& ranks) {
  const Tensor y({rows, x.dim(1)}, x.value.dtype(), x.value.device());
  Parts parts;
  for (int r = 0; r < ranks.ranks(); ++r) parts.push_back(rows_of_rank(y, ranks, r));
  parts[static_cast<std::size_t>(ranks.rank())].copy_from(x.value);
  ranks.all_gather(parts);

  return record({.op = Op::gather_rows, .inputs = {x}, .outputs = {y}, .backward = [&ranks](const Node&, Grads& d) {
                   const Tensor dy = d.out[0].contiguous() ? d.out[0] : d.out[0].contiguous_copy();
                   Parts parts;
                   for (int r = 0; r < ranks.ranks(); ++r) parts.push_back(rows_of_rank(dy, ranks, r));
                   ranks.reduce_scatter(d.in[0], parts, ranks.ranks());
                 }});
}

extern const OpRow gather_rows_row;
const OpRow gather_rows_row = {
    .op = Op::gather_rows,
    .name = "gather_rows",
    .example = [](Example& e) -> std::vector<Var> {
      const std::int64_t N = e.size(5), C = e.size(3), n = e.ranks().ranks(), r = e.ranks().rank();
      return {gelu(gather_rows(e.input({N * (r + 1) / n - N * r / n, C}), N, e.ranks()))};
    },
    .tolerance = 1e-8,
    .cost = moved_rows,
};

}  // namespace ov
