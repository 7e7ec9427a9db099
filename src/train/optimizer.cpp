#include "train/optimizer.h"

#include <algorithm>
#include <cmath>

#include "base/sum.h"
#include "kernels/adamw.h"

namespace ov {

double gradient_norm(const Tensor& gradients) {
  const std::int64_t chunks = (gradients.numel() + kernels::norm_chunk - 1) / kernels::norm_chunk;
  const Tensor partial({chunks}, Dtype::f64, gradients.device(), Segment::workspace);
  kernels::squared_sums({.partial = partial, .x = gradients});
  const double* p = partial.data<double>();
  return std::sqrt(sum<double>(chunks, [&](std::int64_t k) { return p[k]; }));
}

Optimizer::Optimizer(Parameters& parameters, const OptimizerOptions& options)
    : parameters_(parameters), options_(options) {
  for (const auto& e : parameters.entries()) {
    if (!e.parameter.trainable) continue;
    const std::string& name = e.parameter.name;
    const bool named = std::any_of(options.no_decay.begin(), options.no_decay.end(),
                                   [&](const std::string& n) { return name.find(n) != name.npos; });
    const bool decays = !name.ends_with(".bias") && e.shape.rank() > 1 && !named;
    const bool tower = name.starts_with("model.visual.") && !name.starts_with("model.visual.merger.");
    const Group g{e.offset, e.shape.numel(), parameters.gradient_offset(e.parameter), decays ? options.weight_decay : 0,
                  tower ? options.visual_lr_scale : 1};
    Group* last = groups_.empty() ? nullptr : &groups_.back();
    if (last && last->begin + last->count == g.begin && last->weight_decay == g.weight_decay &&
        last->lr_scale == g.lr_scale)
      last->count += g.count;
    else groups_.push_back(g);
  }
  m_ = Tensor::zeros(parameters.gradients().shape(), parameters.gradients().dtype(), parameters.device(),
                     Segment::optimizer);
  v_ = Tensor::zeros(m_.shape(), m_.dtype(), m_.device(), Segment::optimizer);
}

double Optimizer::step(const Tensor& gradients, double lr) {
  const double norm = gradient_norm(gradients);
  if (!std::isfinite(norm)) return norm;
  ++steps_;
  const double clip = options_.clip_grad > 0 ? std::min(1.0, options_.clip_grad / (norm + 1e-6)) : 1.0;
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
                    .step = steps_});
  }
  return norm;
}

}  // namespace ov
