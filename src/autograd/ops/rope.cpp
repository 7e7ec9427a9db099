#include "kernels/rope.h"

#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Var rope(const Var& x, const RopeTable& table) {
  const Tensor y = Tensor::like(x.value);
  kernels::rope_forward({.y = y, .x = x.value, .cos = table.cos.value, .sin = table.sin.value});

  // x is read by backward only for the gradient into the angles.
  Tape* tape = tape_of({&x, &table.cos});
  const bool angles = tape && tape->wants(table.cos);
  return record({.op = Op::rope,
                 .inputs = {x, table.cos, table.sin},
                 .outputs = {y},
                 .saved = {table.cos.value, table.sin.value, angles ? x.value : Tensor()},
                 .backward = [](const Node& n, Grads& d) {
                   kernels::rope_backward({.dx = d.in[0],
                                           .dcos = d.in[1],
                                           .dsin = d.in[2],
                                           .dy = d.out[0],
                                           .x = n.saved[2] ? n.saved[2] : d.out[0],
                                           .cos = n.saved[0],
                                           .sin = n.saved[1]});
                 }});
}

extern const OpRow rope_row;
const OpRow rope_row = {
    .op = Op::rope,
    .name = "rope",
    .example = [](Example& e) -> std::vector<Var> {
      const std::int64_t T = e.size(5), R = e.size(3);
      return {rope(e.input({T, 2, 2 * R}), {e.wide_input({T, R}), e.wide_input({T, R})})};
    },
    .tolerance = 1e-8,
};

}  // namespace ov
