#include "kernels/region_attention.h"

#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Var region_attention(const Var& q, const Var& k, const Var& v, std::shared_ptr<const kernels::RegionSegments> regions,
                     double scale) {
  const std::int64_t R = q.dim(0), H = q.dim(1), D = q.dim(2);
  if (regions->keys != k.dim(0)) input_error("region_attention: regions of ", regions->keys, " rows, k has ", k.dim(0));
  const Tensor o({R, H, D}, q.value.dtype(), q.value.device()),
      lse({R, H}, accum_dtype(q.value.dtype()), q.value.device());
  kernels::region_attention_forward({.o = o,
                                     .lse = lse,
                                     .q = q.value,
                                     .k = k.value,
                                     .v = v.value,
                                     .begin = regions->begin,
                                     .rows = regions->rows,
                                     .scale = scale});

  return record({.op = Op::region_attention,
                 .inputs = {q, k, v},
                 .outputs = {o},
                 .saved = {q.value, k.value, v.value, o, lse, regions->begin, regions->rows},
                 .pairs = regions->rows.numel(),
                 .backward = [scale](const Node& n, Grads& d) {
                   // The kernel computes all three gradients.
                   const auto buffer = [&](std::size_t i) {
                     return d.in[i] ? d.in[i] : Tensor::like(n.saved[i], Segment::workspace);
                   };
                   kernels::region_attention_backward({.dq = buffer(0),
                                                       .dk = buffer(1),
                                                       .dv = buffer(2),
                                                       .d_o = d.out[0],
                                                       .q = n.saved[0],
                                                       .k = n.saved[1],
                                                       .v = n.saved[2],
                                                       .o = n.saved[3],
                                                       .lse = n.saved[4],
                                                       .begin = n.saved[5],
                                                       .rows = n.saved[6],
                                                       .scale = scale});
                 }});
}

extern const OpRow region_attention_row;
const OpRow region_attention_row = {
    .op = Op::region_attention,
    .name = "region_attention",
    .example = [](Example& e) -> std::vector<Var> {
      // Regions that overlap, one that sees a single row, and a row that nobody sees.
      const std::int64_t n = e.size(4), N = n + 4;
      const Var q = e.input({3, 2, 5}), k = e.input({N, 2, 5}), v = e.input({N, 2, 5});
      kernels::RegionTable table{{0, 3, 4}, {0, 2, 3, 2}};
      for (std::int64_t i = 0; i < n; ++i) table.rows.push_back(i + 1);
      table.begin.push_back(n + 4);
      return {region_attention(q, k, v,
                               std::make_shared<kernels::RegionSegments>(std::move(table), N, q.value.device()), 0.4)};
    },
    .tolerance = 1e-7,
    .cost = attention_cost,
};

}  // namespace ov
