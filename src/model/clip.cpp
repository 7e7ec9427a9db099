#include "model/clip.h"

#include <algorithm>
#include <cmath>

#include "tensor/transfer.h"

namespace ov {

ClipLayout::ClipLayout(const std::vector<std::int64_t>& lengths, bool causal, Device& device) {
  kernels::SegmentTable table;
  std::vector<std::int64_t> at;
  std::int64_t rows = 0;
  for (const std::int64_t n : lengths) {
    begins.push_back(rows);
    table.push_back({rows, n, rows, n});
    for (std::int64_t i = 0; i < n; ++i) at.push_back(i);
    rows += n;
  }
  positions = index_tensor("positions", at, {rows}, 0, INT64_MAX, device);
  segments = std::make_shared<kernels::Segments>(std::move(table), rows, rows, causal, device);
}

ClipBlock::ClipBlock(Parameters& set, const std::string& name, const ClipTowerConfig& c)
    : name(name),
      heads(c.heads),
      head_dim(c.hidden / c.heads),
      act(c.act),
      norm1(set, name + ".layer_norm1", c.hidden, c.norm_eps),
      norm2(set, name + ".layer_norm2", c.hidden, c.norm_eps) {
  const auto qkv = [&](const char* kind, const Shape& shape, Role role) {
    std::vector<Parameter*> parts;
    for (const char* part : {"q", "k", "v"})
      parts.push_back(set.declare(cat(name, ".self_attn.", part, "_proj.", kind), shape, role));
    return set.fuse(parts);
  };
  qkv_w = qkv("weight", {c.hidden, c.hidden}, Role::matrix);
  qkv_b = qkv("bias", {c.hidden}, Role::bias);
  out_proj = Linear(set, name + ".self_attn.out_proj", c.hidden, c.hidden, true, Role::projection_out);
  fc1 = Linear(set, name + ".mlp.fc1", c.intermediate, c.hidden, true);
  fc2 = Linear(set, name + ".mlp.fc2", c.hidden, c.intermediate, true, Role::projection_out);
}

Var ClipBlock::attention(const Var& u_NC, const ClipLayout& layout) const {
  const Shape per_head{heads, head_dim};
  const auto qkv_NHD =
      split(linear(u_NC, on_tape_of(u_NC, qkv_w), on_tape_of(u_NC, qkv_b)), {per_head, per_head, per_head});
  const Var o_NHD = ov::attention(qkv_NHD[0], qkv_NHD[1], qkv_NHD[2],
                                  {layout.segments, 1 / std::sqrt(static_cast<double>(head_dim))});
  return named(name + ".self_attn", out_proj(view(o_NHD, u_NC.shape())));
}

Var ClipBlock::forward(const Var& h_NC, const ClipLayout& layout) const {
  const Var h = h_NC + attention(named(name + ".layer_norm1", norm1(h_NC)), layout);
  const Var u = named(name + ".layer_norm2", norm2(h));
  return named(name, h + named(name + ".mlp", fc2(gelu(fc1(u), act))));
}

ClipModel::ClipModel(const ClipConfig& c) : config_(c) {
  const auto blocks = [&](std::vector<ClipBlock>& out, const std::string& tower, const ClipTowerConfig& t) {
    for (std::int64_t i = 0; i < t.layers; ++i) out.emplace_back(parameters_, cat(tower, ".encoder.layers.", i), t);
  };
  Parameters& set = parameters_.in(Module::language_model);
  token_table_ =
      set.declare("text_model.embeddings.token_embedding.weight", {c.vocabulary, c.text.hidden}, Role::embedding);
  text_positions_ =
      set.declare("text_model.embeddings.position_embedding.weight", {c.max_positions, c.text.hidden}, Role::embedding);
  blocks(text_blocks_, "text_model", c.text);
  final_layer_norm_ = LayerNorm(set, "text_model.final_layer_norm", c.text.hidden, c.text.norm_eps);
  text_projection_ = Linear(set, "text_projection", c.projection, c.text.hidden, false);
  logit_scale_ = set.declare("logit_scale", {}, Role::bias);  // a number: like a bias it does not decay

  set.in(Module::vision_model);
  class_embedding_ = set.declare("vision_model.embeddings.class_embedding", {c.vision.hidden}, Role::class_vector);
  patch_embedding_ = set.declare("vision_model.embeddings.patch_embedding.weight",
                                 {c.vision.hidden, c.channels, c.patch, c.patch}, Role::patch_embedding);
  image_positions_ = set.declare("vision_model.embeddings.position_embedding.weight",
                                 {c.side() * c.side() + 1, c.vision.hidden}, Role::embedding);
  pre_layernorm_ = LayerNorm(set, "vision_model.pre_layrnorm", c.vision.hidden, c.vision.norm_eps);  // so spelt
  blocks(vision_blocks_, "vision_model", c.vision);
  post_layernorm_ = LayerNorm(set, "vision_model.post_layernorm", c.vision.hidden, c.vision.norm_eps);
  visual_projection_ = Linear(set, "visual_projection", c.projection, c.vision.hidden, false);
}

Var ClipModel::image_embeds(Tape* tape, const ClipInputs& inputs) const {
  Device& device = parameters_.device();
  const std::int64_t patches = config_.side() * config_.side(), pictures = inputs.pixel_values.dim(0) / patches;
  if (pictures * patches != inputs.pixel_values.dim(0))
    input_error("pixel_values has ", inputs.pixel_values.dim(0), " rows, a picture of this model ", patches);
  const ClipLayout layout(std::vector(static_cast<std::size_t>(pictures), patches + 1), false, device);
  const Tensor first = index_tensor("class rows", layout.begins, {pictures}, 0, INT64_MAX, device);

  const Tensor here = inputs.pixel_values.to(device);
  const Var pixels = tape ? tape->input(here) : Var{here};
  const Var kernel = view(on_tape_of(pixels, patch_embedding_), {config_.vision.hidden, config_.patch_values()});
  Var h = insert_class_tokens(linear(pixels, kernel), on_tape_of(pixels, class_embedding_), first);
  h = named("vision_model.embeddings", h + embedding(layout.positions, on_tape_of(pixels, image_positions_)));
  h = named("vision_model.pre_layrnorm", pre_layernorm_(h));
  for (const ClipBlock& b : vision_blocks_) h = b.forward(h, layout);
  const Var pooled = named("vision_model.post_layernorm", post_layernorm_(take_rows(h, first)));
  return l2_normalize(named("visual_projection", visual_projection_(pooled)));
}

Var ClipModel::text_embeds(Tape* tape, const ClipInputs& inputs) const {
  Device& device = parameters_.device();
  const auto texts = static_cast<std::int64_t>(inputs.text_lengths.size()),
             N = static_cast<std::int64_t>(inputs.input_ids.size());
  const ClipLayout layout(inputs.text_lengths, true, device);
  std::vector<std::int64_t> last = layout.begins;
  for (std::size_t i = 0; i < last.size(); ++i) {
    const auto length = static_cast<std::size_t>(inputs.text_lengths[i]);
    if (inputs.text_lengths[i] > config_.max_positions)
      input_error("text ", i, " has ", length, " tokens, the model ", config_.max_positions, " positions");
    last[i] +=
        pooled_token(std::span(inputs.input_ids).subspan(static_cast<std::size_t>(last[i]), length), config_.eos);
  }
  const Tensor ids = index_tensor("input_ids", inputs.input_ids, {N}, 0, config_.vocabulary, device);

  const Var tokens = embedding(ids, tape ? tape->parameter(*token_table_) : Var{token_table_->value});
  Var h = tokens + embedding(layout.positions, on_tape_of(tokens, text_positions_));
  named("text_model.embeddings", h);
  for (const ClipBlock& b : text_blocks_) h = b.forward(h, layout);
  const Var pooled = final_layer_norm_(take_rows(h, index_tensor("pooled tokens", last, {texts}, 0, N, device)));
  return l2_normalize(named("text_projection", text_projection_(pooled)));
}

Var ClipModel::logits(const Var& a, const Var& b) const { return exp_scale(linear(a, b), on_tape_of(a, logit_scale_)); }

void initialize(ClipModel& model, const InitOptions& options, std::uint64_t seed) {
  initialize(model.parameters(), options, seed);
  model.logit_scale().value.fill(model.config().logit_scale);
}

std::int64_t pooled_token(std::span<const std::int64_t> ids, std::int64_t eos) {
  const auto at = eos == 2 ? std::max_element(ids.begin(), ids.end()) : std::find(ids.begin(), ids.end(), eos);
  return at == ids.end() ? 0 : at - ids.begin();
}

Tensor patch_rows(const Tensor& x, std::int64_t p) {
  const std::int64_t B = x.dim(0), C = x.dim(1), H = x.dim(2) / p, W = x.dim(3) / p;
  const Tensor rows({B * H * W, C * p * p}, x.dtype(), cpu(), Segment::data);
  by_dtype(x.dtype(), [&](auto v) {
    using T = decltype(v);
    const Tensor here = x.contiguous_copy();
    T* to = rows.data<T>();
    for (std::int64_t b = 0; b < B; ++b)
      for (std::int64_t i = 0; i < H; ++i)
        for (std::int64_t j = 0; j < W; ++j)
          for (std::int64_t c = 0; c < C; ++c)
            for (std::int64_t y = i * p; y < (i + 1) * p; ++y)
              to = std::copy_n(here.row<T>((b * C + c) * x.dim(2) + y) + j * p, p, to);
  });
  return rows;
}

}  // namespace ov
