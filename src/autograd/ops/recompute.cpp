#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Var recompute(const std::function<Var(std::span<const Var>)>& block, const std::vector<Var>& inputs, bool trains) {
  Tape* tape = nullptr;
  for (const Var& v : inputs)
    if (v.tape) tape = v.tape;
  bool backward_comes = trains;
  for (const Var& v : inputs) backward_comes = backward_comes || (v.tape && v.tape->wants(v));
  if (!tape || !backward_comes) return block(inputs);  // nothing would be kept anyway

  // The first pass runs on a tape of its own that is dropped: parameters need no tape to be read.
  std::vector<Var> plain;
  std::vector<Tensor> saved;
  for (const Var& v : inputs) plain.push_back({v.value, nullptr, -1}), saved.push_back(v.value);
  const Tensor y = block(plain).value;

  return record({.op = Op::recompute,
                 .inputs = inputs,
                 .outputs = {y},
                 .saved = saved,
                 .trains = trains,
                 .backward = [block, tape](const Node& n, Grads& d) {
                   Tape inner;
                   inner.redirect_gradients(tape->redirect());
                   std::vector<Var> again;
                   for (std::size_t i = 0; i < n.saved.size(); ++i)
                     again.push_back(inner.input(n.saved[i], n.wanted[i]));
                   inner.backward(block(again), d.out[0]);
                   for (std::size_t i = 0; i < again.size(); ++i)
                     if (n.wanted[i]) d.in[i] = inner.gradient(again[i]);
                   tape->count_recomputed(inner);
                 }});
}

extern const OpRow recompute_row;
const OpRow recompute_row = {
    .op = Op::recompute,
    .name = "recompute",
    .example = [](Example& e) -> std::vector<Var> {
      return {recompute([](std::span<const Var> x) { return add(gelu(x[0]), x[1]); },
                        {e.input({3, 4}), e.input({3, 4})}, false)};
    },
    .flops = [](const Node&) { return std::int64_t{0}; },
    .tolerance = 1e-8,
    .passes = true,
};

}  // namespace ov
