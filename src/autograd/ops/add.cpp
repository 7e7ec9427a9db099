#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/rows.h"

namespace ov {

// Saves nothing: the gradient of a sum is that of its terms.
Var add(const Var& a, const Var& b) {
  const Tensor y = Tensor::like(a.value);
  kernels::add({.y = y, .a = a.value, .b = b.value});

  return record({.op = Op::add, .inputs = {a, b}, .outputs = {y}, .backward = [](const Node& n, Grads& d) {
                   for (std::size_t i = 0; i < 2; ++i)
                     if (n.wanted[i]) d.in[i] = d.out[0];
                 }});
}

extern const OpRow add_row;
const OpRow add_row = {
    .op = Op::add,
    .name = "add",
    .example = [](Example& e) -> std::vector<Var> {
      const Shape shape{e.size(5), e.size(7)};
      const Var a = e.input(shape);
      return {add(add(a, e.input(shape)), a)};  // `a` fans out: its gradients share a buffer and are added
    },
    .tolerance = 1e-8,
    .cost =
        [](const Node& n) {
          Cost c = moved_once(n);
          c.backward_bytes = 0;  // the terms' gradients are the sum's
          return c;
        },
    .owners = {Owner::handed_over, Owner::handed_over, Owner::handed_over},
};

}  // namespace ov
