#include "audit/plan.h"

#include <iomanip>
#include <sstream>

#include "kernels/table.h"
#include "train/optimizer.h"

namespace ov {
namespace {

const char* module_of(const std::string& name) {
  if (name.starts_with("model.visual.merger.")) return "merger";
  if (name.starts_with("model.visual.")) return "vision tower";
  if (name.starts_with("model.language_model.embed_tokens.")) return "embedding";
  if (name.starts_with("lm_head.")) return "head";
  return "decoder";
}

void count_parameters(const Parameters& parameters, Plan& plan) {
  for (const char* name : {"vision tower", "merger", "embedding", "decoder", "head"}) plan.modules.push_back({name});
  for (const auto& e : parameters.entries()) {
    for (Plan::Module& m : plan.modules) {
      if (m.name != module_of(e.parameter.name)) continue;
      ++m.tensors;
      m.parameters += e.shape.numel();
      if (e.parameter.trainable) m.trained += e.shape.numel();
    }
  }
  for (const Plan::Module& m : plan.modules) {
    plan.tensors += m.tensors;
    plan.parameters += m.parameters;
    plan.trained += m.trained;
  }
}

}  // namespace

Plan plan_model(const ModelConfig& config, const PlanOptions& options) {
  config.check();
  MetaDevice device;
  device.table = &kernels::meta_table();
  Plan plan;
  for (const Grid& g : options.grids) plan.patches += g.patches();
  const std::int64_t image_tokens = plan.patches / (config.vision.merge * config.vision.merge);
  plan.tokens = image_tokens + options.text_tokens;
  plan.labelled = options.labelled > 0 ? options.labelled : plan.tokens;
  if (plan.tokens < 1) input_error("plan: a row without tokens");
  if (plan.labelled > plan.tokens) input_error("plan: ", plan.labelled, " labelled of ", plan.tokens, " tokens");

  Onevision model(config);
  model.recompute_blocks = options.recompute;
  Parameters& parameters = model.parameters();
  parameters.allocate(options.dtype, device);
  parameters.train(options.trainable ? options.trainable : [](const std::string&) { return true; });
  count_parameters(parameters, plan);
  const Optimizer optimizer(parameters, {});

  // The steps of run_micro_batch (train/micro_batch.cpp), on ids that nobody reads.
  {
    Tape tape;
    const Dtype accum = accum_dtype(options.dtype);
    Tensor pixels;
    if (plan.patches > 0)
      pixels = Tensor({plan.patches, config.vision.patch_values()}, options.dtype, device, Segment::data);
    const std::vector<std::int64_t> ids(static_cast<std::size_t>(plan.tokens));
    const Var hidden = model.hidden(&tape, single_segment(ids, pixels, options.grids, device));
    const Tensor rows({plan.labelled}, Dtype::i64, device, Segment::data);
    const Var logits = model.logits(take_rows(hidden, rows));
    const Tensor targets = Tensor::like(rows, Segment::data), weights({plan.labelled}, accum, device, Segment::data);
    const CrossEntropy ce = cross_entropy(logits, targets, weights, 1);
    tape.backward(ce.loss, Tensor({1}, accum, device));
    // Blocks that run again are on the tape once, whether their first pass was recorded or not.
    plan.forward_flops = 2.0 * static_cast<double>(tape.forward_products());
    plan.backward_flops = 2.0 * static_cast<double>(tape.backward_products());
    plan.recomputed_flops = 2.0 * static_cast<double>(tape.recomputed_products());
  }
  plan.memory = device.memory();
  return plan;
}

namespace {

// 123456 -> "123 456".
std::string grouped(std::int64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t i = digits.size(); i > 3;) digits.insert(i -= 3, 1, ' ');
  return digits;
}

}  // namespace

std::string Plan::report() const {
  std::ostringstream out;
  const auto line = [&](const std::string& name, const std::string& value, const std::string& more = "") {
    out << "  " << std::left << std::setw(16) << name << std::right << std::setw(22) << value << more << "\n";
  };
  out << "parameters\n";
  for (const Module& m : modules)
    line(m.name, grouped(m.parameters),
         cat("  in ", m.tensors, " tensors", m.trained == m.parameters ? "" : ", trained " + grouped(m.trained)));
  line("all", grouped(parameters),
       cat("  in ", tensors, " tensors", trained == parameters ? "" : ", trained " + grouped(trained)));
  out << "bytes at their highest, one micro-batch of " << tokens << " tokens (" << patches << " patches)\n";
  for (int s = 0; s < segment_count; ++s)
    line(name_of(static_cast<Segment>(s)), grouped(memory.peak[static_cast<std::size_t>(s)]));
  line("all at once", grouped(memory.total_peak));
  const auto teraflops = [](double flops) {
    std::ostringstream s;
    s << std::fixed << std::setprecision(6) << flops / 1e12;
    return s.str();
  };
  out << "TFLOP of that micro-batch, products and attention only, " << labelled << " rows through the head\n";
  line("forward", teraflops(forward_flops));
  line("backward", teraflops(backward_flops));
  if (recomputed_flops > 0) line("recomputed", teraflops(recomputed_flops));
  return out.str();
}

}  // namespace ov
