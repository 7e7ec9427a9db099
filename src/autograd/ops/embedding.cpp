#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/rows.h"

namespace ov {

Var embedding(const Tensor& ids, const Var& table) {
  const Tensor y({ids.numel(), table.dim(1)}, table.value.dtype(), table.value.device());
  kernels::embedding_forward({.y = y, .ids = ids, .table = table.value});

  return record(
      {.op = Op::embedding, .inputs = {table}, .outputs = {y}, .saved = {ids}, .backward = [](const Node& n, Grads& d) {
         kernels::embedding_backward({.dtable = d.in[0], .dy = d.out[0], .ids = n.saved[0]});
       }});
}

extern const OpRow embedding_row;
const OpRow embedding_row = {
    .op = Op::embedding,
    .name = "embedding",
    .example = [](Example& e) -> std::vector<Var> {
      return {embedding(e.integers({3, 0, 3, 1, 3}, {5}), e.parameter({4, e.size(6)}))};
    },
    .tolerance = 1e-8,
    .cost = moved_rows,
    .owners = {Owner::added},
};

}  // namespace ov
