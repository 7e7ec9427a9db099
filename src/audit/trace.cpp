#include "audit/trace.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/text.h"
#include "kernels/router.h"
#include "store/hf_names.h"
#include "train/objectives/language.h"

namespace ov {
namespace {

class Recorder : public Tracer {
 public:
  Recorder(std::vector<NamedTensor>& out, bool alone) : out_(out), alone_(alone) {}
  void activation(const std::string& name, const Tensor& value) override {
    out_.push_back({"act." + spelt(name, alone_), as_hugging_face(name, value)});
  }
  // A language model alone is model.* in Transformers' memory as on disk.
  static std::string spelt(const std::string& name, bool alone) { return alone ? name_on_disk(name) : name; }

 private:
  // HF's decoder sees [1, T, ...] and projections unsplit, but its routers [T, E]; its patch convolution gives
  // [P, C, 1, 1].
  static Tensor as_hugging_face(const std::string& name, const Tensor& t) {
    const Tensor copy = t.contiguous_copy();
    if (name.ends_with("patch_embed.proj")) return copy.view({t.dim(0), t.dim(1), 1, 1});
    if ((!name.starts_with("model.language_model.") && name != "lm_head") || name.ends_with(".mlp.gate")) return copy;
    const std::int64_t T = t.dim(0), rest = t.numel() / std::max<std::int64_t>(1, T);
    const bool heads = name.ends_with("_norm") && t.rank() == 3;
    return heads ? copy.view({1, T, t.dim(1), t.dim(2)}) : copy.view({1, T, rest});
  }
  std::vector<NamedTensor>& out_;
  const bool alone_;
};

// Ids or labels of one row.
std::vector<std::int64_t> row_of(const Safetensors& file, const std::string& name) {
  const Shape shape = file.tensor(name).shape();
  if (!(shape.rank() == 1 || (shape.rank() == 2 && shape[0] == 1)))
    input_error(file.path(), ": ", name, " is ", shape.str(), ", expected one row, [T] or [1, T]");
  return whole_numbers(file, name);
}

}  // namespace

bool is_traced(const std::string& name) {
  return name.find('.') != name.npos || name == "logits" || name == "token_loss" || name == "image_embeds" ||
         name == "text_embeds" || name == "logits_per_image" || name == "logits_per_text" || name == "loss" ||
         name == "aux_loss";
}

void check_trace_inputs(const Safetensors& file, const std::vector<std::string>& inputs) {
  std::string all;
  for (const std::string& name : inputs) all += (all.empty() ? "" : ", ") + name;
  for (const SafetensorsEntry& e : file.entries())
    if (!is_traced(e.name) && std::find(inputs.begin(), inputs.end(), e.name) == inputs.end())
      input_error(file.path(), ": holds ", e.name, ", which a trace does not read; its inputs are ", all);
}

// Whole numbers of any dtype; floats hold them exactly up to 2^53.
std::vector<std::int64_t> whole_numbers(const Safetensors& file, const std::string& name) {
  const Tensor t = file.tensor(name);
  if (t.dtype() == Dtype::f64 || t.dtype() == Dtype::f32 || t.dtype() == Dtype::bf16)
    for (const double x : t.to(Dtype::f64).to_vector<double>())
      if (!(std::abs(x) <= 0x1p53) || x != std::floor(x))
        input_error(file.path(), ": ", name, " holds ", x, ", which is no whole number that a float can be sure of");
  return (t.dtype() == Dtype::i64 ? t : t.to(Dtype::i64)).to_vector<std::int64_t>();
}

TraceCase read_trace_case(const std::string& path, Dtype dtype) {
  const Safetensors file = Safetensors::open(path);
  check_trace_inputs(file, {"input_ids", "labels", "pixel_values", "image_grid_thw"});
  TraceCase c;
  c.input_ids = row_of(file, "input_ids");
  if (file.find("labels")) c.labels = row_of(file, "labels");
  if (!c.labels.empty() && c.labels.size() != c.input_ids.size())
    input_error(path, ": labels has ", c.labels.size(), " values, input_ids ", c.input_ids.size());
  const bool pixels = file.find("pixel_values"), grids = file.find("image_grid_thw");
  if (pixels != grids)
    input_error(path, ": ", pixels ? "pixel_values" : "image_grid_thw", " without ",
                pixels ? "image_grid_thw" : "pixel_values");
  if (!pixels) return c;
  const Tensor values = file.tensor("pixel_values");
  const Shape grid = file.tensor("image_grid_thw").shape();
  if (values.rank() != 2) input_error(path, ": pixel_values is ", values.shape().str(), ", expected [patches, values]");
  if (grid.rank() != 2 || grid[1] != 3)
    input_error(path, ": image_grid_thw is ", grid.str(), ", expected [images, 3]: frames, rows, columns");
  const auto thw = whole_numbers(file, "image_grid_thw");
  for (std::size_t i = 0; i < thw.size(); i += 3) c.grids.push_back({thw[i], thw[i + 1], thw[i + 2]});
  check_patches(c.grids, values.dim(0));
  if (!c.grids.empty()) c.pixel_values = values.to(dtype, Segment::data);
  return c;
}

const Tensor* Trace::find(const std::string& name) const {
  for (const NamedTensor& t : tensors)
    if (t.name == name) return &t.tensor;
  return nullptr;
}

namespace {

MicroBatch batch_of(const TraceCase& c) {
  MicroBatch b;
  b.input_ids = c.input_ids;
  b.labels = c.labels.empty() ? std::vector(c.input_ids.size(), ignored_label) : c.labels;
  if (!b.labels.empty()) b.labels[0] = ignored_label;  // nothing predicts the first token
  b.positions.resize(c.input_ids.size());
  std::iota(b.positions.begin(), b.positions.end(), 0);
  b.segments = {{0, b.tokens()}};
  b.sample_of_segment = {0};
  b.samples = 1;
  b.pixel_values = c.pixel_values;
  for (const Grid& g : c.grids) b.grids.push_back({g.t, g.h, g.w});
  return b;
}

}  // namespace

std::vector<Tensor> experts_of(const Safetensors& trace, const ModelConfig& config, std::int64_t tokens) {
  const TextConfig& text = config.text;
  std::vector<Tensor> experts(static_cast<std::size_t>(text.layers));
  for (std::int64_t i = 0; i < text.layers; ++i) {
    if (!text.is_moe(i)) continue;
    const std::string name =
        "act." + Recorder::spelt(cat("model.language_model.layers.", i, ".mlp.gate"), !config.has_tower);
    const Tensor logits = trace.tensor(name).to(Dtype::f32);
    if (logits.shape() != Shape{tokens, text.experts})
      input_error(trace.path(), ": tensor '", name, "': expected [", tokens, ", ", text.experts, "], found ",
                  logits.shape().str());
    Tensor& chosen = experts[static_cast<std::size_t>(i)];
    chosen = Tensor({tokens, text.experts_per_token}, Dtype::i64, cpu());
    kernels::router_forward({.probabilities = Tensor::like(logits),
                             .weights = Tensor({tokens, text.experts_per_token}, Dtype::f32, cpu()),
                             .experts = chosen,
                             .logits = logits,
                             .normalise = true});
  }
  return experts;
}

Trace trace_model(Onevision& model, const TraceCase& c) {
  Trace trace;
  const bool alone = !model.config().has_tower;
  Recorder recorder(trace.tensors, alone);
  Parameters& parameters = model.parameters();
  const MicroBatch batch = batch_of(c);
  if (c.labels.empty()) {
    Tape tape({}, &recorder);
    const OnevisionInputs inputs = model_inputs(batch, parameters.dtype(), parameters.device());
    trace.tensors.push_back({"logits", model.logits(model.hidden(&tape, inputs)).value});
    return trace;
  }
  parameters.train([](const Parameter&) { return true; });
  const Tensor gradients = parameters.gradient_buffer();
  gradients.zero();
  Tape tape(gradients, &recorder);

  // All rows pass through the head; those without a label have weight 0.
  const StepTargets step = loss_targets({.micro_batches = {batch}}, NormaliseBy::global_token_mean);
  LossTargets targets = step.micro_batches[0];
  targets.rows.resize(c.input_ids.size());
  std::iota(targets.rows.begin(), targets.rows.end(), 0);
  const LanguageLoss l = language_loss(model, tape, batch, targets, step.denominator);
  trace.tensors.push_back({"logits", l.logits.value});
  const std::vector<std::int64_t>& labelled = step.micro_batches[0].rows;
  const Tensor index = index_tensor("labelled rows", labelled, {static_cast<std::int64_t>(labelled.size())}, 0,
                                    batch.tokens(), parameters.device());
  trace.tensors.push_back(
      {"token_loss", take_rows(Var{l.token_loss.view({l.token_loss.numel(), 1})}, index).value.flat()});
  l.backward(tape);
  trace.loss = read_scalar(l.loss.value);
  trace.tensors.push_back({"loss", l.loss.value});
  if (l.aux) {
    trace.aux_loss = read_scalar(l.aux.value);
    trace.tensors.push_back({"aux_loss", l.aux.value});
  }
  for (const auto& e : parameters.entries())
    trace.tensors.push_back({"grad." + Recorder::spelt(e.parameter.name, alone), gradient_of(e.parameter, gradients)});
  return trace;
}

void write_trace(const std::string& path, const Trace& trace) {
  std::string order;
  for (const NamedTensor& t : trace.tensors) order += t.name + "\n";
  std::vector<NamedTensor> tensors = trace.tensors;
  for (NamedTensor& t : tensors)
    if (t.tensor.dtype() == Dtype::bf16) t.tensor = t.tensor.to(Dtype::f32);
  write_safetensors(path, tensors, {{"order", order}});
}

}  // namespace ov
