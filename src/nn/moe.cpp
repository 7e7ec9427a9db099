#include "nn/moe.h"

namespace ov {

Moe::Moe(Parameters& set, const std::string& name, const MoeShape& s)
    : name(name), shape(s), gate(set, name + ".gate", s.experts, s.hidden, false) {
  std::vector<Parameter*> gate_up, down;
  const std::int64_t ranks = set.experts().ranks();
  if (s.experts % ranks != 0)
    input_error("parallel.experts ", ranks, ": does not divide text.experts, which is ", s.experts);
  const auto declare = [&](std::int64_t e, const char* part, const Shape& size, Role role, Cut cut) {
    if (ranks > 1) set.of_rank(static_cast<int>(e * ranks / s.experts));
    return set.declare(cat(name, ".experts.", e, ".", part, ".weight"), size, role, cut);
  };
  set.in(Module::experts);
  for (std::int64_t e = 0; e < s.experts; ++e)
    for (const char* part : {"gate_proj", "up_proj"})
      gate_up.push_back(declare(e, part, {s.intermediate, s.hidden}, Role::matrix, Cut::rows));
  for (std::int64_t e = 0; e < s.experts; ++e)
    down.push_back(declare(e, "down_proj", {s.hidden, s.intermediate}, Role::projection_out, Cut::columns));
  set.in(Module::language_model).of_rank(-1);
  gate_up_w = set.fuse(gate_up);
  down_w = set.fuse(down);
  shape.intermediate /= set.tensor().ranks();
}

MlpOutput Moe::operator()(const Var& u_TC, const Tensor& forced) const {
  const Var logits_TE = named(name + ".gate", adapted(linear(u_TC, on_tape_of(u_TC, gate.w), {}, true), u_TC, gate.w));
  const Tensor here = forced ? forced.to(u_TC.value.device()) : forced;
  const Routing to = route(logits_TE, shape.experts_per_token, shape.normalise, here);
  const Var o_RC = through_experts(expert_rows(u_TC, to.tokens, to.slots), to.offsets);
  return {named(name, combine_experts(o_RC, to.weights, to.slots)), to.probabilities, to.offsets};
}

Var Moe::through_experts(const Var& u_RC, const Tensor& offsets) const {
  const std::int64_t F = shape.intermediate;
  const auto gate_up_RF = split(grouped_linear(u_RC, on_tape_of(u_RC, gate_up_w), offsets), {{F}, {F}});
  const Var gate_RF = adapted(gate_up_RF[0], u_RC, gate_up_w, 0, offsets),
            up_RF = adapted(gate_up_RF[1], u_RC, gate_up_w, 1, offsets), inner_RF = swiglu(gate_RF, up_RF);
  return adapted(grouped_linear(inner_RF, on_tape_of(u_RC, down_w), offsets), inner_RF, down_w, 0, offsets);
}

}  // namespace ov
