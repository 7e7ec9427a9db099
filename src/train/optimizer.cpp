#include "train/optimizer.h"

#include <algorithm>

#include "kernels/adamw.h"
#include "parallel/tensor.h"
#include "tensor/transfer.h"

namespace ov {
namespace {

std::int64_t chunks_of(std::int64_t n) { return (n + kernels::norm_chunk - 1) / kernels::norm_chunk; }

// Squares by chunk of `gradients`, but for what another rank counts: range by range, through a copy without that.
void squared_sums(const Tensor& partial, const Tensor& gradients, std::int64_t begin,
                  const std::vector<Range>& elsewhere, std::int64_t most) {
  if (elsewhere.empty()) return kernels::squared_sums({.partial = partial, .x = gradients});
  for (std::int64_t at = 0; at < gradients.numel(); at += most) {
    const std::int64_t end = std::min(gradients.numel(), at + most);
    const Tensor copy = gradients.slice(0, at, end).contiguous_copy(Segment::workspace);
    for (const Range& r : elsewhere) {
      const std::int64_t from = std::max(r.begin - begin, at), to = std::min(r.end - begin, end);
      if (from < to) copy.slice(0, from - at, to - at).zero();
    }
    kernels::squared_sums({.partial = partial.slice(0, chunks_of(at), chunks_of(end)), .x = copy});
  }
}

// Writes the norm, by fixed chunks; returns the factor that clips to `limit`. Both [1] f64. `gradients` are the range
// that begins at `begin` of `all`.
Tensor clip_factor(const Tensor& gradients, std::int64_t begin, std::int64_t all, const Optimizer::Complete& complete,
                   double limit, const Tensor& norm, const std::vector<Range>& elsewhere = {},
                   const WholeChunks* whole = nullptr) {
  const std::int64_t most = 256 * kernels::norm_chunk;
  Tensor partial;
  if (!whole) {
    partial = Tensor({chunks_of(all)}, Dtype::f64, gradients.device(), Segment::workspace);
    const std::int64_t first = chunks_of(begin), own = chunks_of(gradients.numel());
    if (own > 0) squared_sums(partial.slice(0, first, first + own), gradients, begin, elsewhere, most);
  } else {
    partial = whole->squares(gradients, elsewhere, [&](const Tensor& to, std::int64_t from, std::int64_t end) {
      squared_sums(to, gradients.slice(0, from, end), begin + from, elsewhere, most);
    });
  }
  const Tensor clip({1}, Dtype::f64, gradients.device(), Segment::workspace);
  if (complete) complete(partial);
  kernels::clip_factor({.norm = norm, .clip = clip, .partial = partial, .limit = limit});
  return clip;
}

}  // namespace

double gradient_norm(const Tensor& gradients) {
  const Tensor norm({1}, Dtype::f64, gradients.device(), Segment::workspace);
  clip_factor(gradients, 0, gradients.numel(), {}, 0, norm);
  return read_scalar(norm);
}

Optimizer::Optimizer(Parameters& parameters, const OptimizerOptions& options)
    : Optimizer(parameters, options, {0, parameters.trained()}) {}

Optimizer::Optimizer(Parameters& parameters, const OptimizerOptions& options, Range own)
    : parameters_(parameters), options_(options), own_(own) {
  for (const auto& e : parameters.entries()) {
    const Parameter& p = e.parameter;
    if (!p.trainable) continue;
    const bool named = std::any_of(options.no_decay.begin(), options.no_decay.end(),
                                   [&](const std::string& n) { return p.name.find(n) != p.name.npos; });
    const bool decays = p.role != Role::bias && e.shape.rank() > 1 && !named;
    const std::int64_t begin = std::max(p.gradient, own.begin), end = std::min(p.gradient + e.shape.numel(), own.end);
    if (begin >= end) continue;
    const std::int64_t value = parameters.divided() ? begin - own.begin : e.offset + begin - p.gradient;
    const Group g{value, end - begin, begin, decays ? options.weight_decay : 0,
                  p.module == Module::vision_model ? options.visual_lr_scale : 1};
    Group* last = groups_.empty() ? nullptr : &groups_.back();
    if (last && last->begin + last->count == g.begin && last->weight_decay == g.weight_decay &&
        last->lr_scale == g.lr_scale)
      last->count += g.count;
    else groups_.push_back(g);
  }
  Device& home = options.state_on ? *options.state_on : parameters.device();
  const Dtype kept = options.moments == Moments::full ? accum_dtype(parameters.dtype()) : Dtype::bf16;
  m_ = Tensor::zeros({own.size()}, kept, home, Segment::optimizer);
  v_ = Tensor::zeros(m_.shape(), m_.dtype(), m_.device(), Segment::optimizer);
}

void Optimizer::step(const Tensor& gradients, double lr, const Tensor& norm, const Complete& complete,
                     const WholeChunks* whole) {
  const Tensor clip = clip_factor(gradients, own_.begin, parameters_.trained(), complete, options_.clip_grad, norm,
                                  counted_elsewhere(parameters_, own_), whole);
  ++steps_;
  std::vector<Tensor> state = {m_, v_};
  if (const Tensor& masters = parameters_.masters())
    state.push_back(masters.slice(0, own_.begin - parameters_.masters_begin(), own_.end - parameters_.masters_begin()));
  Device& device = gradients.device();
  const bool away = &m_.device() != &device;
  const std::int64_t most = away ? std::min(options_.range, m_.numel()) : m_.numel();
  std::vector<Tensor> brought;
  for (std::size_t i = 0; away && i < state.size(); ++i)
    brought.emplace_back(Shape{most}, state[i].dtype(), device, Segment::workspace);

  // By step and by the element's place among all that are trained, so that ranks and ranges round alike.
  std::optional<Philox> random;
  if (options_.moments == Moments::bf16_stochastic)
    random.emplace(options_.seed, "moments", static_cast<std::uint64_t>(steps_));

  const auto call = [&](const std::vector<Tensor>& here) {
    return kernels::Adamw{.param = parameters_.divided() ? parameters_.own_values() : parameters_.values(),
                          .m = here[0],
                          .v = here[1],
                          .grad = gradients,
                          .clip = clip,
                          .beta1 = options_.beta1,
                          .beta2 = options_.beta2,
                          .eps = options_.eps,
                          .step = steps_,
                          .master = here.size() > 2 ? here[2] : Tensor(),
                          .ranges = {},
                          .random = random,
                          .first = static_cast<std::uint64_t>(own_.begin)};
  };
  if (!away) {
    kernels::Adamw all = call(state);
    for (const Group& g : groups_)
      all.ranges.push_back({g.begin, g.gradient_begin - own_.begin, g.count, lr * g.lr_scale, g.weight_decay});
    if (!groups_.empty()) kernels::adamw(all);
    return;
  }
  for (const Group& g : groups_) {
    for (std::int64_t begin = 0, end; begin < g.count; begin = end) {
      end = std::min(g.count, begin + most);
      const auto range = [&, begin](const Tensor& t, std::int64_t first) {
        return t.slice(0, first + begin, first + end);
      };
      const std::int64_t first = g.gradient_begin - own_.begin;
      std::vector<Tensor> here;
      for (std::size_t i = 0; i < state.size(); ++i) {
        here.push_back(brought[i].slice(0, 0, end - begin));
        here[i].copy_from(range(state[i], first));
      }
      kernels::Adamw part = call(here);
      part.param = range(part.param, g.begin), part.grad = range(part.grad, first);
      part.lr = lr * g.lr_scale, part.weight_decay = g.weight_decay;
      part.first += static_cast<std::uint64_t>(first + begin);
      kernels::adamw(part);
      for (std::size_t i = 0; i < state.size(); ++i) range(state[i], first).copy_from(here[i]);
    }
  }
}

}  // namespace ov
