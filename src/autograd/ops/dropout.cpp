#include "kernels/dropout.h"

#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {
namespace {

Var dropped(const Var& x, const kernels::Dropout& how) {
  const Tensor y = Tensor::like(x.value);
  kernels::Dropout forward = how;
  forward.y = y, forward.x = x.value;
  kernels::dropout(forward);

  return record({.op = Op::dropout, .inputs = {x}, .outputs = {y}, .backward = [how](const Node&, Grads& d) {
                   kernels::Dropout backward = how;
                   backward.y = d.in[0], backward.x = d.out[0];
                   kernels::dropout(backward);
                 }});
}

}  // namespace

Var scale(const Var& x, double factor) { return dropped(x, {.y = {}, .x = {}, .factor = factor}); }

Var dropout(const Var& x, double share, const Philox& random, std::uint64_t first) {
  return dropped(
      x,
      {.y = {}, .x = {}, .factor = share < 1 ? 1 / (1 - share) : 0, .share = share, .random = random, .first = first});
}

extern const OpRow dropout_row;
const OpRow dropout_row = {
    .op = Op::dropout,
    .name = "dropout",
    .example = [](Example& e) -> std::vector<Var> {
      const Var x = e.input({e.size(5), e.size(7)});
      return {scale(x, -1.5), dropout(x, 0.4, Philox(1, "example"), 3)};
    },
    .tolerance = 1e-8,
};

}  // namespace ov
