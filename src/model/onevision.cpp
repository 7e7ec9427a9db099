#include "model/onevision.h"

#include <algorithm>
#include <numeric>

#include "parallel/tensor.h"

namespace ov {

namespace {

// Multiply-adds a token, about: half of the tokens are of pictures, half have a label; without attention's products.
Chunks divided(const ModelConfig& c, int chunks) {
  const TextConfig& t = c.text;
  const VisionConfig& v = c.vision;
  const auto inner = [](std::int64_t n) { return static_cast<double>(n); };
  std::vector<double> layers;
  for (std::int64_t i = 0; i < t.layers; ++i)
    layers.push_back(inner(t.hidden) *
                     (inner(2 * (t.heads + t.kv_heads) * t.head_dim) +
                      3 * inner(t.is_moe(i) ? t.experts_per_token * t.expert_intermediate : t.intermediate)));
  const double patches = inner(v.merge * v.merge), width = inner(v.hidden), merged = patches * width,
               tower = patches * inner(v.depth) * width * (4 * width + 2 * inner(v.intermediate)) +
                       merged * (merged + inner(t.hidden));
  return Chunks::balanced(layers, c.has_tower ? tower / 2 : 0, inner(t.vocabulary * t.hidden) / 2, chunks);
}

}  // namespace

Onevision::Onevision(const ModelConfig& config, Communicator& tensor, Communicator& pipe, int chunks,
                     Communicator& experts)
    : config_(config),
      chunks_(divided(config, pipe.ranks() > 1 ? pipe.ranks() * chunks : 1)),
      parameters_(tensor, pipe, experts) {
  if (config.has_tower) {
    visual_.emplace(parameters_.in(Module::vision_model), config.vision);
    merger_.emplace(parameters_.in(Module::adapter), "model.visual.merger", config.vision, config.text.hidden);
  }
  language_model_.emplace(parameters_.in(Module::language_model), config.text, chunks_);
  lm_head_ = language_model_->embed_tokens;
  words_ = parameters_.lent(language_model_->embed_tokens, 0);
  for (int r = 0; r < pipe.ranks(); ++r) {
    std::string& holds = parameters_.stages.emplace_back(r == 0 ? config.has_tower ? "tower, words, " : "words, " : "");
    for (int c = r; c <= chunks_.last(); c += pipe.ranks()) {
      const Range layers = chunks_.layers[static_cast<std::size_t>(c)];
      holds += cat(c > r ? ", " : "", layers.size() > 1    ? cat("layers ", layers.begin, " to ", layers.end - 1)
                                      : layers.size() == 1 ? cat("layer ", layers.begin)
                                                           : "no layer");
    }
    if (r == pipe.ranks() - 1) holds += ", head";
  }
  if (config.text.tied) parameters_.alias("lm_head.weight", lm_head_);
  else
    lm_head_ =
        parameters_.declare("lm_head.weight", {config.text.vocabulary, config.text.hidden}, Role::head, Cut::rows);
}

OnevisionInputs single_segment(const std::vector<std::int64_t>& ids, const Tensor& pixel_values,
                               const std::vector<Grid>& grids, Device& device) {
  const auto T = static_cast<std::int64_t>(ids.size());
  std::vector<std::int64_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), 0);
  return {ids, index_tensor("positions", positions, {T}, 0, T, device),
          std::make_shared<kernels::Segments>(kernels::SegmentTable{{0, T, 0, T}}, T, T, true, device), pixel_values,
          grids};
}

std::int64_t Onevision::recomputed_layers() const {
  const std::int64_t tower = config_.has_tower ? config_.vision.depth : 0;
  return std::max<std::int64_t>(0, recomputed_blocks() - tower);
}

Var Onevision::encode_images(Tape* tape, const OnevisionInputs& inputs) const {
  const Var own = own_features(tape, inputs);
  if (!inputs.context || !inputs.context->features) return own;
  const auto learns = [&](const Parameters::Entry& e) {
    return e.parameter.trainable &&
           (e.parameter.module == Module::vision_model || e.parameter.module == Module::adapter);
  };
  const bool wanted = std::any_of(parameters_.entries().begin(), parameters_.entries().end(), learns);
  const Tensor none({0, config_.text.hidden}, parameters_.dtype(), parameters_.device());
  const Var x = own ? own : tape ? tape->input(none) : Var{none};
  // Who has no picture passes by the tower's blocks here, as others have: ranks of parallel/zero3.h, each in a row of
  // its own, else wait for each other in a ring.
  parameters_.need(language_model_->layers.front().block);
  return exchange_rows({x}, *inputs.context->features, *inputs.context->ranks, wanted)[0];
}

Var Onevision::own_features(Tape* tape, const OnevisionInputs& inputs) const {
  if (inputs.grids.empty()) return {};
  if (!visual_) input_error("pictures for a language model alone: its config.json has no vision_config");
  check_patches(inputs.grids, inputs.pixel_values.dim(0));
  if (const std::int64_t n = inputs.pixel_values.numel() / inputs.pixel_values.dim(0);
      n != config_.vision.patch_values())
    input_error("pixel_values has rows of ", n, " values, the model's patches have ", config_.vision.patch_values(),
                " (", config_.vision.channels, " colours, ", config_.vision.patch, " x ", config_.vision.patch,
                " pixels)");
  const VisionLayout layout(inputs.grids, config_.vision.merge, config_.hf_shift_bug, parameters_.device(),
                            config_.per_frame);
  const Var pixels = pixels_on(tape, inputs.pixel_values, parameters_);
  return merger_->forward(visual_->forward(pixels, layout, recomputed_blocks()));
}

std::vector<std::int64_t> image_sources(const std::vector<std::int64_t>& ids, std::int64_t image_token,
                                        std::int64_t features) {
  std::vector<std::int64_t> source(ids.size(), -1);
  std::int64_t next = 0;
  for (std::size_t t = 0; t < ids.size(); ++t)
    if (ids[t] == image_token) source[t] = next++;
  if (next != features)
    input_error("input_ids holds ", next, " image placeholders, the pictures have ", features, " tokens",
                next ? "" : cat("; image_token_id is ", image_token));
  return source;
}

Var Onevision::embed(Tape* tape, const OnevisionInputs& inputs, const Var& features, Var* lent) const {
  Parameter& table = *words_;
  Device& device = parameters_.device();
  const auto T = static_cast<std::int64_t>(inputs.input_ids.size());
  const auto words = [&] {
    if (parameters_.tensor().ranks() > 1) return words_of_rank(parameters_, tape, inputs.input_ids, table, lent);
    const Tensor ids = index_tensor("input_ids", inputs.input_ids, {T}, 0, table.value.dim(0), device);
    return rows_of(tape, ids, table, lent);
  };
  Var h = named("model.language_model.embed_tokens", words(), tape ? tape->tracer() : nullptr);
  if (visual_) {
    const std::int64_t rows = features ? features.dim(0) : 0;
    std::vector<std::int64_t> source = inputs.feature_rows;
    if (source.empty() && device.has_data()) source = image_sources(inputs.input_ids, config_.image_token, rows);
    source.resize(inputs.input_ids.size(), -1);  // plan's ids are zeros
    if (features) h = splice(h, features, index_tensor("image sources", source, {T}, -1, rows, device));
  }
  return own_rows_of_sum(parameters_, h);
}

Var Onevision::hidden(Tape* tape, const OnevisionInputs& inputs, const Var& features, KvStore* cache,
                      Routers* routers) const {
  return language_model_->forward(embed(tape, inputs, features), inputs.positions, inputs.segments, cache,
                                  recomputed_layers(), routers, forced_experts, inputs.context);
}

Var Onevision::logits(const Var& hidden) const {
  return named("lm_head", adapted(linear(hidden, on_tape_of(hidden, lm_head_)), hidden, lm_head_));
}

}  // namespace ov
