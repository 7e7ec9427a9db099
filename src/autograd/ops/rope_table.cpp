#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/rope.h"

namespace ov {

RopeTable rope_table_1d(const Tensor& positions, const Tensor& inv_freq, Dtype dtype) {
  const Tensor cos({positions.numel(), inv_freq.numel()}, accum_dtype(dtype), positions.device()),
      sin = Tensor::like(cos);
  kernels::rope_table_1d({.cos = cos, .sin = sin, .positions = positions, .inv_freq = inv_freq});
  return {Var{cos}, Var{sin}};
}

RopeTable rope_table_2d(const Tensor& positions, const Tensor& inv_freq, const Var& class_angles) {
  const Tensor cos({positions.dim(0), 2 * inv_freq.numel()}, accum_dtype(class_angles.value.dtype()),
                   positions.device()),
      sin = Tensor::like(cos);
  kernels::rope_table_2d_forward({.cos = cos,
                                  .sin = sin,
                                  .positions = positions,
                                  .inv_freq = inv_freq,
                                  .class_angles = class_angles.value.flat()});

  auto out = record_all({.op = Op::rope_table_2d,
                         .inputs = {class_angles},
                         .outputs = {cos, sin},
                         .saved = {cos, sin, positions},
                         .backward = [](const Node& n, Grads& d) {
                           const auto given_or_zero = [](const Tensor& g, const Tensor& like) {
                             return g ? g : Tensor::zeros(like.shape(), like.dtype(), like.device());
                           };
                           kernels::rope_table_2d_backward({.dclass_angles = d.in[0].flat(),
                                                            .dcos = given_or_zero(d.out[0], n.saved[0]),
                                                            .dsin = given_or_zero(d.out[1], n.saved[1]),
                                                            .cos = n.saved[0],
                                                            .sin = n.saved[1],
                                                            .positions = n.saved[2]});
                         }});
  return {out[0], out[1]};
}

extern const OpRow rope_table_2d_row;
const OpRow rope_table_2d_row = {
    .op = Op::rope_table_2d,
    .name = "rope_table_2d",
    .example = [](Example& e) -> std::vector<Var> {
      const Tensor positions = e.integers({-1, -1, 0, 0, 0, 1, 2, 3, -1, -1, 1, 1}, {6, 2});
      const Tensor inv_freq = Tensor::of(kernels::inverse_frequencies(6, 1e4), {3}, positions.device());
      const RopeTable t = rope_table_2d(positions, inv_freq, e.parameter({6}));
      return {t.cos, t.sin};
    },
    .tolerance = 1e-8,
    .owners = {Owner::added},
};

}  // namespace ov
