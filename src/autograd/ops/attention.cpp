#include "kernels/attention.h"

#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Var attention(const Var& q, const Var& k, const Var& v, const AttentionOptions& options) {
  const std::int64_t T = q.dim(0), H = q.dim(1), D = q.dim(2);
  const Tensor o({T, H, D}, q.value.dtype(), q.value.device()),
      lse({T, H}, accum_dtype(q.value.dtype()), q.value.device());
  kernels::attention_forward({.o = o,
                              .lse = lse,
                              .q = q.value,
                              .k = k.value,
                              .v = v.value,
                              .segments = options.segments.get(),
                              .causal = options.causal,
                              .scale = options.scale});

  return record({.op = Op::attention,
                 .inputs = {q, k, v},
                 .outputs = {o},
                 .saved = {q.value, k.value, v.value, o, lse},
                 .products = 2 * H * D * kernels::visible_pairs(*options.segments, options.causal),
                 .backward = [options](const Node& n, Grads& d) {
                   // The kernel computes all three gradients or none.
                   const auto buffer = [&](std::size_t i) {
                     return d.in[i] ? d.in[i] : Tensor::like(n.saved[i], Segment::workspace);
                   };
                   kernels::attention_backward({.dq = buffer(0),
                                                .dk = buffer(1),
                                                .dv = buffer(2),
                                                .d_o = d.out[0],
                                                .q = n.saved[0],
                                                .k = n.saved[1],
                                                .v = n.saved[2],
                                                .o = n.saved[3],
                                                .lse = n.saved[4],
                                                .segments = options.segments.get(),
                                                .causal = options.causal,
                                                .scale = options.scale});
                 }});
}

extern const OpRow attention_row;
const OpRow attention_row = {
    .op = Op::attention,
    .name = "attention",
    .example = [](Example& e) -> std::vector<Var> {
      // Four query heads on two key heads; full, causal, and causal with two branches of one prefix; one row in no
      // segment.
      const std::int64_t D = 5;
      const auto run = [&](kernels::SegmentTable table, std::int64_t rows, bool causal) {
        return attention(e.input({rows, 4, D}), e.input({rows, 2, D}), e.input({rows, 2, D}),
                         {std::make_shared<kernels::SegmentTable>(std::move(table)), causal, 0.4});
      };
      return {run({{0, 3, 0, 3}, {3, 4, 3, 4}}, 8, false), run({{0, 5, 0, 5}, {5, 2, 5, 2}}, 7, true),
              run({{0, 3, 0, 3}, {3, 2, 3, 2, 0}, {5, 3, 5, 3, 0}}, 9, true)};
    },
    .flops = [](const Node& n) { return 2 * n.products; },
    .tolerance = 1e-7,
};

}  // namespace ov
