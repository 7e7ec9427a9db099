#include "model/files/merge.h"

#include <algorithm>
#include <cmath>

#include "base/rng.h"
#include "model/files/hf_directory.h"
#include "model/files/merge_sources.h"

namespace ov {
namespace {

// Noise in the shape of two pictures, so that the tower's borders between pictures count too.
Tensor two_pictures(const VisionConfig& c, std::vector<Grid>& grids) {
  grids = {{1, 2 * c.merge, 2 * c.merge}, {1, c.merge, 3 * c.merge}};
  const Tensor pixels({grids[0].patches() + grids[1].patches(), c.patch_values()}, Dtype::f32, cpu(), Segment::data);
  const Philox random(0, "merge check");
  for (std::int64_t i = 0; i < pixels.numel(); ++i)
    pixels.data<float>()[i] = random.normal(static_cast<std::uint64_t>(i));
  return pixels;
}

Tensor features(const RiceVit& tower, Dtype dtype, Device& device) {
  std::vector<Grid> grids;
  const Tensor pixels = two_pictures(tower.config, grids);
  const VisionLayout layout(grids, tower.config.merge, false, device);
  return tower.forward(Var{pixels.to(device).to(dtype)}, layout, false).value;
}

// NaN has NaN's bits: what is no number would agree with itself.
void check_finite(const Tensor& t, const std::string& directory, const char* what) {
  const auto values = t.to(Dtype::f64).to_vector<double>();
  if (!std::all_of(values.begin(), values.end(), [](double x) { return std::isfinite(x); }))
    input_error(directory, ": its ", what, " are not finite numbers; neither is some weight, or it is too large");
}

// The parameters of a part by itself: the source's values, compared with the model's.
void read_again(Parameters& part, const MergeSource& source, const Onevision& model, MergeCheck& check) {
  std::map<std::string, Tensor> values;
  for (const auto& e : model.parameters().entries()) values[e.parameter.name] = e.parameter.value;
  for (const auto& [name, p] : model.parameters().aliases()) values[name] = p->value;
  const Dtype dtype = model.parameters().dtype();
  Device& device = model.parameters().device();
  const auto compared = [&](const Parameters::Entry& e) {
    ++check.tensors;
    const Tensor stored = source.tensor(e.parameter.name), own = values[e.parameter.name];
    const Tensor rounded = stored.dtype() == dtype ? stored : stored.to(dtype, Segment::workspace);
    if (own && equal_bits(own, rounded)) return own;
    if (check.tensors_differ++ == 0) check.first_difference = e.parameter.name;
    return rounded;
  };
  source.check(part);
  if (device.on_host()) return part.borrow(dtype, compared);
  part.allocate(dtype, device);
  for (const auto& e : part.entries()) copy_weight("merge", e.parameter.name, compared(e), e.parameter.value);
}

void check_tower(const Onevision& model, const MergeOptions& o, MergeCheck& check) {
  Parameters parameters;
  const RiceVit tower(parameters, read_tower_source_config(o.tower, o.described.vision.merge));
  read_again(parameters, MergeSource::tower(o.tower), model, check);
  const Tensor ours = features(model.visual(), parameters.dtype(), *o.device);
  check_finite(ours, o.tower, "features of two pictures");
  check.features_differ = !equal_bits(features(tower, parameters.dtype(), *o.device), ours);
}

void check_language(const Onevision& model, const MergeOptions& o, const std::vector<std::int64_t>& prompt,
                    MergeCheck& check) {
  const MergeSource source = MergeSource::language(o.language);
  Parameters parameters;
  const Decoder decoder(parameters, read_language_source_config(o.language));
  const TextConfig& c = decoder.config;
  Parameter* head = decoder.embed_tokens;
  if (source.has("lm_head.weight")) head = parameters.declare("lm_head.weight", {c.vocabulary, c.hidden}, Role::head);
  read_again(parameters, source, model, check);

  const OnevisionInputs in = single_segment(prompt, {}, {}, *o.device);
  const auto T = static_cast<std::int64_t>(prompt.size());
  const Var h =
      embedding(index_tensor("prompt", prompt, {T}, 0, c.vocabulary, *o.device), Var{decoder.embed_tokens->value});
  const Var logits = linear(decoder.forward(h, in.positions, in.segments, nullptr, false), Var{head->value});
  check_finite(logits.value, o.language, "logits of a text");
  check.logits_differ = !equal_bits(logits.value, model.logits(model.hidden(nullptr, in)).value);
}

}  // namespace

ModelConfig merged_config(const MergeOptions& o) {
  ModelConfig c = o.described;
  if (!o.tower.empty()) c.vision = read_tower_source_config(o.tower, o.described.vision.merge);
  if (!o.language.empty()) {
    c.text = read_language_source_config(o.language);
    c.text.tied = o.tied;
  }
  c.source = merged_source_config(o.tower, o.language);
  c.check();
  return c;
}

MergedWeights::MergedWeights(const Parameters& parameters, const MergeOptions& o, Dtype drawn)
    : options_(o), drawn_(drawn) {
  if (!o.tower.empty()) (tower_ = MergeSource::tower(o.tower))->check(parameters);
  if (!o.language.empty()) (language_ = MergeSource::language(o.language))->check(parameters);
}

Tensor MergedWeights::operator()(const Parameter& p) const {
  if (tower_ && tower_part.has(p.name)) return tower_->tensor(p.name);
  if (language_ && language_part.has(p.name)) return language_->tensor(p.name);
  const Tensor t(p.value.shape(), drawn_, cpu(), Segment::weights);
  draw(p, t, options_.init, options_.seed);
  return t;
}

std::unique_ptr<Onevision> merge_models(const MergeOptions& o) {
  auto model = std::make_unique<Onevision>(merged_config(o));
  Parameters& parameters = model->parameters();
  parameters.allocate(Dtype::f32, *o.device);
  const MergedWeights weights(parameters, o, Dtype::f32);
  for (const auto& e : parameters.entries())
    copy_weight("merge", e.parameter.name, weights(e.parameter), e.parameter.value);
  return model;
}

MergeCheck check_merge(const Onevision& model, const MergeOptions& o, const std::vector<std::int64_t>& prompt) {
  if (prompt.empty()) input_error("merge: the prompt of the check is empty");
  MergeCheck check;
  if (!o.tower.empty()) check_tower(model, o, check);
  if (!o.language.empty()) check_language(model, o, prompt, check);
  return check;
}

std::string MergeCheck::text() const {
  std::string out = cat(tensors - tensors_differ, " of ", tensors, " tensors have their source's bits");
  if (tensors_differ > 0) out += cat(" (first difference: ", first_difference, ")");
  out += cat("; the tower's features ", features_differ ? "DIFFER" : "agree", ", the language model's logits ",
             logits_differ ? "DIFFER" : "agree");
  return out;
}

}  // namespace ov
