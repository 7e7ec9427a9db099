#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/rows.h"

namespace ov {

Var splice(const Var& text, const Var& features, const Tensor& source) {
  const Tensor y = Tensor::like(text.value);
  kernels::splice_forward({.y = y, .text = text.value, .features = features.value, .source = source});

  return record({.op = Op::splice,
                 .inputs = {text, features},
                 .outputs = {y},
                 .saved = {source},
                 .backward = [](const Node& n, Grads& d) {
                   kernels::splice_backward(
                       {.dtext = d.in[0], .dfeatures = d.in[1], .dy = d.out[0], .source = n.saved[0]});
                 }});
}

extern const OpRow splice_row;
const OpRow splice_row = {
    .op = Op::splice,
    .name = "splice",
    .example = [](Example& e) -> std::vector<Var> {
      const std::int64_t C = e.size(6);
      return {splice(e.input({5, C}), e.input({3, C}), e.integers({-1, 0, 2, -1, 1}, {5}))};
    },
    .tolerance = 1e-8,
    .cost = moved_rows,
};

}  // namespace ov
