#include "kernels/margin_logits.h"

#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Var margin_logits(const Var& cos, const Tensor& roles, const MarginOptions& o) {
  const Tensor z = Tensor::like(cos.value);
  kernels::margin_logits_forward({.z = z,
                                  .cos = cos.value,
                                  .roles = roles,
                                  .margin = o.margin,
                                  .scale = o.scale,
                                  .m = o.m,
                                  .filter_above = o.filter_above});

  return record({.op = Op::margin_logits,
                 .inputs = {cos},
                 .outputs = {z},
                 .saved = {cos.value, roles},
                 .backward = [o](const Node& n, Grads& d) {
                   kernels::margin_logits_backward({.dcos = d.in[0],
                                                    .dz = d.out[0],
                                                    .cos = n.saved[0],
                                                    .roles = n.saved[1],
                                                    .margin = o.margin,
                                                    .scale = o.scale,
                                                    .m = o.m,
                                                    .filter_above = o.filter_above});
                 }});
}

extern const OpRow margin_logits_row;
const OpRow margin_logits_row = {
    .op = Op::margin_logits,
    .name = "margin_logits",
    .example = [](Example& e) -> std::vector<Var> {
      // gelu keeps the cosines between -0.17 and 0.85, away from arccos's ends, and some of them above the filter.
      const std::int64_t S = e.size(4);
      const std::uint8_t first[3][4] = {{1, 2, 1, 1}, {3, 0, 1, 1}, {1, 4, 1, 2}};
      std::vector<std::uint8_t> roles;
      for (const auto& row : first)
        for (std::int64_t s = 0; s < S; ++s) roles.push_back(row[s % 4]);
      const auto run = [&](kernels::Margin margin, double filter_above) {
        const Var x = e.input({3, S});
        return margin_logits(gelu(x), Tensor::of(roles, {3, S}, x.value.device()),
                             {.margin = margin, .scale = 4, .m = 0.3, .filter_above = filter_above});
      };
      // The straight-through gradient is no derivative; tests/model/rice_loss_test.cpp has its values.
      return {run(kernels::Margin::cosface, 0), run(kernels::Margin::arcface, 0), run(kernels::Margin::cosface, 0.5)};
    },
    .tolerance = 1e-7,
};

}  // namespace ov
