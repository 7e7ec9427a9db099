#include "kernels/region_attention.h"

#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Var region_attention(const Var& q, const Var& k, const Var& v, std::shared_ptr<const kernels::RegionTable> regions,
                     double scale) {
  const std::int64_t R = q.dim(0), H = q.dim(1), D = q.dim(2);
  const Tensor o({R, H, D}, q.value.dtype(), q.value.device()),
      lse({R, H}, accum_dtype(q.value.dtype()), q.value.device());
  kernels::region_attention_forward(
      {.o = o, .lse = lse, .q = q.value, .k = k.value, .v = v.value, .regions = regions.get(), .scale = scale});

  return record({.op = Op::region_attention,
                 .inputs = {q, k, v},
                 .outputs = {o},
                 .saved = {q.value, k.value, v.value, o, lse},
                 .products = 2 * H * D * static_cast<std::int64_t>(regions->rows.size()),
                 .backward = [regions, scale](const Node& n, Grads& d) {
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
                                                       .regions = regions.get(),
                                                       .scale = scale});
                 }});
}

extern const OpRow region_attention_row;
const OpRow region_attention_row = {
    .op = Op::region_attention,
    .name = "region_attention",
    .example = [](Example& e) -> std::vector<Var> {
      // Regions that overlap, one that sees a single row, and a row that nobody sees.
      auto table = std::make_shared<kernels::RegionTable>();
      table->begin = {0, 3, 4, 8};
      table->rows = {0, 2, 3, 5, 1, 2, 3, 5};
      return {region_attention(e.input({3, 2, 5}), e.input({6, 2, 5}), e.input({6, 2, 5}), table, 0.4)};
    },
    .flops = [](const Node& n) { return 2 * n.products; },
    .tolerance = 1e-7,
};

}  // namespace ov
