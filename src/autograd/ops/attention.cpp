#include "kernels/attention.h"

#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Var attention(const Var& q, const Var& k, const Var& v, const AttentionOptions& options) {
  const std::int64_t T = q.dim(0), H = q.dim(1), D = q.dim(2);
  const kernels::Segments& segments = *options.segments;
  if (segments.queries != T || segments.keys != k.dim(0))
    input_error("attention: segments over ", segments.queries, " queries and ", segments.keys, " keys, q and k have ",
                T, " and ", k.dim(0));
  const Tensor o({T, H, D}, q.value.dtype(), q.value.device()),
      lse({T, H}, accum_dtype(q.value.dtype()), q.value.device());
  kernels::attention_forward({.o = o,
                              .lse = lse,
                              .q = q.value,
                              .k = k.value,
                              .v = v.value,
                              .segments = segments.rows,
                              .causal = segments.causal,
                              .scale = options.scale});

  return record({.op = Op::attention,
                 .inputs = {q, k, v},
                 .outputs = {o},
                 .saved = {q.value, k.value, v.value, o, lse, segments.rows},
                 .pairs = segments.pairs,
                 .backward = [causal = segments.causal, scale = options.scale](const Node& n, Grads& d) {
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
                                                .segments = n.saved[5],
                                                .causal = causal,
                                                .scale = scale});
                 }});
}

extern const OpRow attention_row;
const OpRow attention_row = {
    .op = Op::attention,
    .name = "attention",
    .example = [](Example& e) -> std::vector<Var> {
      // Four query heads on two key heads; full, causal, and causal with two branches of one prefix; one row in no
      // segment.
      const std::int64_t D = 5, n = std::min<std::int64_t>(e.size(3), 257);  // the pairs grow as its square
      const auto run = [&](kernels::SegmentTable table, std::int64_t rows, bool causal) {
        const Var q = e.input({rows, 4, D}), k = e.input({rows, 2, D}), v = e.input({rows, 2, D});
        const auto segments =
            std::make_shared<kernels::Segments>(std::move(table), rows, rows, causal, q.value.device());
        return attention(q, k, v, {segments, 0.4});
      };
      return {run({{0, n, 0, n}, {n, 4, n, 4}}, n + 5, false), run({{0, 5, 0, 5}, {5, n, 5, n}}, n + 5, true),
              run({{0, n, 0, n}, {n, 2, n, 2, 0}, {n + 2, 3, n + 2, 3, 0}}, n + 6, true)};
    },
    .tolerance = 1e-7,
    .cost = attention_cost,
};

}  // namespace ov
