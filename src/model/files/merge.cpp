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

Tensor features(const RiceVit& tower, Device& device) {
  std::vector<Grid> grids;
  const Tensor pixels = two_pictures(tower.config, grids);
  const VisionLayout layout(grids, tower.config.merge, false, device);
  return tower.forward(Var{pixels.to(device)}, layout, false).value;
}

// NaN has NaN's bits: what is no number would agree with itself.
void check_finite(const Tensor& t, const std::string& directory, const char* what) {
  const auto values = t.to_vector<float>();
  if (!std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); }))
    input_error(directory, ": its ", what, " are not finite numbers; neither is some weight, or it is too large");
}

class Comparison {
 public:
  Comparison(const Onevision& model, MergeCheck& check) : check_(check) {
    for (const auto& e : model.parameters().entries()) values_[e.parameter.name] = e.parameter.value;
    for (const auto& [name, p] : model.parameters().aliases()) values_[name] = p->value;
  }
  void operator()(const Parameters& source) {
    for (const auto& e : source.entries()) {
      ++check_.tensors;
      const auto found = values_.find(e.parameter.name);
      if (found != values_.end() && equal_bits(found->second, e.parameter.value)) continue;
      if (check_.tensors_differ++ == 0) check_.first_difference = e.parameter.name;
    }
  }

 private:
  MergeCheck& check_;
  std::map<std::string, Tensor> values_;
};

void check_tower(const Onevision& model, const MergeOptions& o, MergeCheck& check) {
  Parameters parameters;
  const RiceVit tower(parameters, read_tower_source_config(o.tower, o.described.vision.merge));
  parameters.allocate(Dtype::f32, *o.device);
  MergeSource::tower(o.tower).load(parameters);
  Comparison(model, check)(parameters);
  const Tensor ours = features(model.visual(), *o.device);
  check_finite(ours, o.tower, "features of two pictures");
  check.features_differ = !equal_bits(features(tower, *o.device), ours);
}

void check_language(const Onevision& model, const MergeOptions& o, const std::vector<std::int64_t>& prompt,
                    MergeCheck& check) {
  const MergeSource source = MergeSource::language(o.language);
  Parameters parameters;
  const Decoder decoder(parameters, read_language_source_config(o.language));
  const TextConfig& c = decoder.config;
  Parameter* head = decoder.embed_tokens;
  if (source.has("lm_head.weight")) head = parameters.declare("lm_head.weight", {c.vocabulary, c.hidden}, Role::head);
  parameters.allocate(Dtype::f32, *o.device);
  source.load(parameters);
  Comparison(model, check)(parameters);

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

std::unique_ptr<Onevision> merge_models(const MergeOptions& o) {
  auto model = std::make_unique<Onevision>(merged_config(o));
  Parameters& parameters = model->parameters();
  parameters.allocate(Dtype::f32, *o.device);
  initialize(parameters, o.init, o.seed, [&](const std::string& name) {
    return !(!o.tower.empty() && tower_part.has(name)) && !(!o.language.empty() && language_part.has(name));
  });
  if (!o.tower.empty()) MergeSource::tower(o.tower).load(parameters);
  if (!o.language.empty()) MergeSource::language(o.language).load(parameters);
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
