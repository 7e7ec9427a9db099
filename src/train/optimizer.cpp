#include "train/optimizer.h"

#include <algorithm>

#include "kernels/adamw.h"
#include "tensor/transfer.h"

namespace ov {
namespace {

// Writes the norm, by fixed chunks; returns the factor that clips to `limit`. Both [1] f64.
Tensor clip_factor(const Tensor& gradients, double limit, const Tensor& norm) {
  const std::int64_t chunks = (gradients.numel() + kernels::norm_chunk - 1) / kernels::norm_chunk;
  const Tensor partial({chunks}, Dtype::f64, gradients.device(), Segment::workspace);
  const Tensor clip({1}, Dtype::f64, gradients.device(), Segment::workspace);
  kernels::squared_sums({.partial = partial, .x = gradients});
  kernels::clip_factor({.norm = norm, .clip = clip, .partial = partial, .limit = limit});
  return clip;
}

}  // namespace

double gradient_norm(const Tensor& gradients) {
  const Tensor norm({1}, Dtype::f64, gradients.device(), Segment::workspace);
  clip_factor(gradients, 0, norm);
  return read_scalar(norm);
}

Optimizer::Optimizer(Parameters& parameters, const OptimizerOptions& options)
    : parameters_(parameters), options_(options) {
  for (const auto& e : parameters.entries()) {
    const Parameter& p = e.parameter;
    if (!p.trainable) continue;
    const bool named = std::any_of(options.no_decay.begin(), options.no_decay.end(),
                                   [&](const std::string& n) { return p.name.find(n) != p.name.npos; });
    const bool decays = p.role != Role::bias && e.shape.rank() > 1 && !named;
    const Group g{e.offset, e.shape.numel(), p.gradient, decays ? options.weight_decay : 0,
                  p.module == Module::vision_model ? options.visual_lr_scale : 1};
    Group* last = groups_.empty() ? nullptr : &groups_.back();
    if (last && last->begin + last->count == g.begin && last->weight_decay == g.weight_decay &&
        last->lr_scale == g.lr_scale)
      last->count += g.count;
    else groups_.push_back(g);
  }
  m_ = Tensor::zeros({parameters.trained()}, accum_dtype(parameters.dtype()), parameters.device(), Segment::optimizer);
  v_ = Tensor::zeros(m_.shape(), m_.dtype(), m_.device(), Segment::optimizer);
}

void Optimizer::step(const Tensor& gradients, double lr, const Tensor& norm) {
  const Tensor clip = clip_factor(gradients, options_.clip_grad, norm);
  ++steps_;
  for (const Group& g : groups_) {
    const auto of_state = [&](const Tensor& t) { return t.slice(0, g.gradient_begin, g.gradient_begin + g.count); };
    kernels::adamw({.param = parameters_.values().slice(0, g.begin, g.begin + g.count),
                    .m = of_state(m_),
                    .v = of_state(v_),
                    .grad = of_state(gradients),
                    .clip = clip,
                    .lr = lr * g.lr_scale,
                    .beta1 = options_.beta1,
                    .beta2 = options_.beta2,
                    .eps = options_.eps,
                    .weight_decay = g.weight_decay,
                    .step = steps_,
                    .master = parameters_.masters() ? of_state(parameters_.masters()) : Tensor()});
  }
}

}  // namespace ov
