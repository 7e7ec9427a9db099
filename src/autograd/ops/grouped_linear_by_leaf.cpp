#include "autograd/ops/grouped_linear_by_leaf.h"

#include "autograd/ops.h"
#include "autograd/registry.h"
#include "comm/ordered_sum.h"
#include "kernels/experts.h"

namespace ov {

Var grouped_linear_by_leaf(const Var& x, const Var& w, const std::vector<LeafRows>& leaves) {
  const std::int64_t experts = leaves.at(0).offsets.numel() - 1;
  const Tensor y({x.dim(0), w.dim(0) / experts}, x.value.dtype(), x.value.device());
  std::vector<Tensor> saved = {x.value, w.value};
  std::vector<std::int64_t> ends;
  std::vector<bool> there;
  for (const LeafRows& leaf : leaves) {
    const std::int64_t begin = ends.empty() ? 0 : ends.back(), end = begin + leaf.rows;
    kernels::grouped_gemm({.c = y.slice(0, begin, end),
                           .a = x.value.slice(0, begin, end),
                           .b = w.value,
                           .offsets = leaf.offsets,
                           .trans_b = true});
    saved.push_back(leaf.offsets), ends.push_back(end), there.push_back(leaf.there);
  }
  if (ends.back() != x.dim(0))
    input_error("grouped_linear_by_leaf: ", ends.back(), " rows of leaves, x has ", x.dim(0));

  return record({.op = Op::grouped_linear_by_leaf,
                 .inputs = {x, w},
                 .outputs = {y},
                 .saved = saved,
                 .backward = [ends, there](const Node& n, Grads& d) {
                   const Tensor &x = n.saved[0], &w = n.saved[1], &dy = d.out[0];
                   std::vector<Tensor> addends;
                   for (std::size_t i = 0; i < ends.size(); ++i) {
                     const auto rows = [&](const Tensor& t) { return t.slice(0, i > 0 ? ends[i - 1] : 0, ends[i]); };
                     const Tensor& offsets = n.saved[2 + i];
                     if (d.in[0])
                       kernels::grouped_gemm({.c = rows(d.in[0]), .a = rows(dy), .b = w, .offsets = offsets});
                     if (!d.in[1] || !there[i]) continue;
                     addends.push_back(addends.empty() ? d.in[1]
                                                       : Tensor(d.in[1].shape(), d.in[1].dtype(), d.in[1].device(),
                                                                Segment::workspace));
                     if (addends.size() > 1) addends.back().zero();
                     kernels::grouped_gemm({.c = addends.back(),
                                            .a = rows(dy),
                                            .b = rows(x),
                                            .offsets = offsets,
                                            .trans_a = true,
                                            .accumulate = true});
                   }
                   sum_in_order(addends);
                 }});
}

extern const OpRow grouped_linear_by_leaf_row;
const OpRow grouped_linear_by_leaf_row = {
    .op = Op::grouped_linear_by_leaf,
    .name = "grouped_linear_by_leaf",
    .example = [](Example& e) -> std::vector<Var> {
      // Three leaves: of two with rows one leaves the second expert out, the other both others; one is not there.
      const std::int64_t R = e.size(6), C = e.size(7), F = e.size(5), a = R / 2, b = R - a;
      const std::vector<LeafRows> leaves = {{a, e.integers({0, a / 2, a / 2, a}, {4})},
                                            {0, e.integers({0, 0, 0, 0}, {4}), false},
                                            {b, e.integers({0, 0, b, b}, {4})}};
      return {grouped_linear_by_leaf(e.input({R, C}), e.parameter({3 * F, C}), leaves)};
    },
    .tolerance = 1e-8,
    .cost = grouped_linear_cost,
    .owners = {Owner::fresh, Owner::added},
};

}  // namespace ov
