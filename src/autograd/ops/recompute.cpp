#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

std::vector<Var> recompute(const Block& block, const std::vector<Var>& inputs, bool trains) {
  Tape* tape = nullptr;
  for (const Var& v : inputs)
    if (v.tape) tape = v.tape;
  bool backward_comes = trains;
  for (const Var& v : inputs) backward_comes = backward_comes || (v.tape && v.tape->wants(v));
  if (!tape || !backward_comes) return block(inputs);  // nothing would be kept anyway

  // The first pass runs on a tape of which nobody wants gradients: it records nothing, and draws what the second one
  // will. What the block captures lives until backward, and memory accounting does not see it: layers, that outlive the
  // tape, and the tables of the batch.
  Tape quiet;
  quiet.draw(tape->draws());
  std::vector<Var> plain;
  std::vector<Tensor> saved, outputs;
  for (const Var& v : inputs) plain.push_back(quiet.input(v.value)), saved.push_back(v.value);
  for (const Var& y : block(plain)) outputs.push_back(y.value);
  std::vector<Var> inside;
  for (Parameter* p : quiet.parameters()) inside.push_back(tape->parameter(*p));

  return record_all({.op = Op::recompute,
                     .inputs = inputs,
                     .outputs = outputs,
                     .saved = saved,
                     .inside = inside,
                     .trains = trains,
                     .backward = [block](const Node& n, Grads& d) {
                       d.in = d.tape.backward_again(block, n.saved, n.wanted, d.out);
                     }});
}

extern const OpRow recompute_row;
const OpRow recompute_row = {
    .op = Op::recompute,
    .name = "recompute",
    .example = [](Example& e) -> std::vector<Var> {
      // Of three outputs the last is nobody's.
      const auto y = recompute(
          [](std::span<const Var> x) {
            return std::vector<Var>{add(gelu(x[0]), x[1]), gelu(x[1]), gelu(x[0])};
          },
          {e.input({3, 4}), e.input({3, 4})}, false);
      return {y[0], y[1]};
    },
    .tolerance = 1e-8,
    .cost = nothing_moved,
    .owners = {Owner::handed_over, Owner::handed_over, Owner::handed_over},
};

}  // namespace ov
