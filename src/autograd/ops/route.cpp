#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/experts.h"
#include "kernels/router.h"

namespace ov {

Routing route(const Var& logits, std::int64_t k, bool normalise, const Tensor& forced) {
  const Tensor& z = logits.value;
  const std::int64_t T = z.dim(0), E = z.dim(1);
  const Dtype wide = accum_dtype(z.dtype());
  const Tensor probabilities({T, E}, wide, z.device()), weights({T, k}, wide, z.device()),
      experts({T, k}, Dtype::i64, z.device());
  kernels::router_forward({.probabilities = probabilities,
                           .weights = weights,
                           .experts = experts,
                           .logits = z,
                           .normalise = normalise,
                           .forced = forced});
  Routing r{.weights = {},
            .probabilities = {},
            .tokens = Tensor({T * k}, Dtype::i64, z.device()),
            .slots = Tensor({T, k}, Dtype::i64, z.device()),
            .offsets = Tensor({E + 1}, Dtype::i64, z.device())};
  kernels::expert_order({.tokens = r.tokens, .slots = r.slots, .offsets = r.offsets, .experts = experts});

  const auto out = record_all({.op = Op::route,
                               .inputs = {logits},
                               .outputs = {weights, probabilities},
                               .saved = {probabilities, experts},
                               .backward = [normalise](const Node& n, Grads& d) {
                                 kernels::router_backward({.dlogits = d.in[0],
                                                           .dprobabilities = d.out[1],
                                                           .dweights = d.out[0],
                                                           .probabilities = n.saved[0],
                                                           .experts = n.saved[1],
                                                           .normalise = normalise});
                               }});
  r.weights = out[0], r.probabilities = out[1];
  return r;
}

extern const OpRow route_row;
const OpRow route_row = {
    .op = Op::route,
    .name = "route",
    .example = [](Example& e) -> std::vector<Var> {
      // Two experts of every token stand out, so that no small step changes who is chosen.
      const std::int64_t T = e.size(4), E = e.size(7), k = std::min<std::int64_t>(2, E);
      std::vector<double> more(static_cast<std::size_t>(T * E));
      for (std::int64_t i = 0; i < T * k; ++i) more[static_cast<std::size_t>(i / k * E + (i / k + i % k) % E)] = 2.5;
      const Var z = add(e.wide_input({T, E}), Var{e.numbers(more, {T, E})});
      const Routing normalised = route(z, k, true), plain = route(z, k, false);
      return {normalised.weights, plain.weights, plain.probabilities};
    },
    .tolerance = 1e-7,
    .cost =
        [](const Node& n) {
          Cost c = moved_once_with_exp(n);
          c.backward_values = {};  // the probabilities are saved
          return c;
        },
};

}  // namespace ov
