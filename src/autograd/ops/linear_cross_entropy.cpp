#include <algorithm>

#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cross_entropy.h"
#include "kernels/gemm.h"

namespace ov {

static_assert(linear_cross_entropy_rows == kernels::cpu::gemm_block_k);  // chunks of dw end where its blocks do

namespace {

// Calls f(begin, end, z) for one chunk of rows after another, z [end - begin, V] being memory for its logits.
template <class F>
void for_each_chunk(const Tensor& x, const Tensor& w, std::int64_t chunk, F&& f) {
  const std::int64_t N = x.dim(0), most = std::min(N, chunk);
  const Tensor z({most, w.dim(0)}, x.dtype(), x.device(), Segment::workspace);
  for (std::int64_t begin = 0; begin < N; begin += chunk) {
    const std::int64_t end = std::min(N, begin + chunk);
    const Tensor here = z.slice(0, 0, end - begin);
    kernels::gemm({.c = here, .a = x.slice(0, begin, end), .b = w, .trans_b = true});
    f(begin, end, here);
  }
}

}  // namespace

CrossEntropy linear_cross_entropy(const Var& x, const Var& w, const Tensor& targets, const Tensor& weights,
                                  double denominator, std::int64_t chunk) {
  const std::int64_t N = x.dim(0);
  Device& device = x.value.device();
  const Dtype wide = accum_dtype(x.value.dtype());
  const Tensor loss({1}, wide, device), token_loss({N}, wide, device), lse({N, 2}, wide, device);
  for_each_chunk(x.value, w.value, chunk, [&](std::int64_t begin, std::int64_t end, const Tensor& z) {
    kernels::cross_entropy_forward({.loss = loss,  // of this chunk: overwritten below
                                    .token_loss = token_loss.slice(0, begin, end),
                                    .lse = lse.slice(0, begin, end),
                                    .logits = z,
                                    .targets = targets.slice(0, begin, end),
                                    .weights = weights.slice(0, begin, end),
                                    .denominator = denominator});
  });
  kernels::weighted_mean({.mean = loss, .values = token_loss, .weights = weights, .denominator = denominator});

  const Var out = record(
      {.op = Op::linear_cross_entropy,
       .inputs = {x, w},
       .outputs = {loss},
       .saved = {x.value, w.value, targets, weights, lse},
       .backward = [denominator, chunk](const Node& n, Grads& d) {
         const Tensor &x = n.saved[0], &w = n.saved[1];
         const Tensor dz({std::min(x.dim(0), chunk), w.dim(0)}, x.dtype(), x.device(), Segment::workspace);
         for_each_chunk(x, w, chunk, [&](std::int64_t begin, std::int64_t end, const Tensor& z) {
           const Tensor dy = dz.slice(0, 0, end - begin);
           kernels::cross_entropy_backward({.dlogits = dy,
                                            .dloss = d.out[0],
                                            .logits = z,
                                            .targets = n.saved[2].slice(0, begin, end),
                                            .weights = n.saved[3].slice(0, begin, end),
                                            .lse = n.saved[4].slice(0, begin, end),
                                            .denominator = denominator});
           if (d.in[0]) kernels::gemm({.c = d.in[0].slice(0, begin, end), .a = dy, .b = w});
           if (d.in[1])
             kernels::gemm({.c = d.in[1], .a = dy, .b = x.slice(0, begin, end), .trans_a = true, .accumulate = true});
         });
       }});
  return {out, token_loss};
}

extern const OpRow linear_cross_entropy_row;
const OpRow linear_cross_entropy_row = {
    .op = Op::linear_cross_entropy,
    .name = "linear_cross_entropy",
    .example = [](Example& e) -> std::vector<Var> {
      // Three rows a chunk. Row 2 has weight 0, and its target is not read; row 3 pushes its token away.
      const std::int64_t N = e.size(7), V = e.size(9), C = e.size(5);
      std::vector<double> weights(static_cast<std::size_t>(N), 0.75);
      std::vector<std::int64_t> targets;
      for (std::int64_t n = 0; n < N; ++n) targets.push_back(n == 2 ? -100 : (V - 1) * (n + 1) % V);
      if (N > 2) weights[2] = 0;
      if (N > 3) weights[3] = -0.5;
      return {linear_cross_entropy(e.input({N, C}), e.parameter({V, C}), e.integers(targets, {N}),
                                   e.numbers(weights, {N}), 2.5, 3)
                  .loss};
    },
    .tolerance = 1e-8,
    .cost =
        [](const Node& n) {
          const std::int64_t N = n.input_shapes[0][0], C = n.input_shapes[0][1], V = n.input_shapes[1][0],
                             one = N * C * V, size = static_cast<std::int64_t>(size_of(n.saved[0].dtype()));
          const std::int64_t x = N * C * size, w = V * C * size, z = N * V * size;
          Cost c;
          c.forward_bytes = x + w + 2 * z;  // logits are written and read, chunk by chunk
          c.forward_values.exp = N * V;
          c.products[0] = {Pass::forward, N, V, C, false, true, one};
          if (!n.wanted[0] && !n.wanted[1]) return c;
          c.backward_values = c.forward_values;
          c.backward_bytes = x + w + 4 * z + (n.wanted[0] ? x : 0) + (n.wanted[1] ? w : 0);
          c.products[1] = {Pass::again, N, V, C, false, true, one};
          if (n.wanted[0]) c.products[2] = {Pass::backward, N, C, V, false, false, one};
          if (n.wanted[1]) c.products[3] = {Pass::backward, V, C, N, true, false, one};
          return c;
        },
    .owners = {Owner::fresh, Owner::added},
};

}  // namespace ov
