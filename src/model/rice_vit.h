// RICE-ViT with LLaVA-OneVision-1.5's merger: native-resolution pictures in, language model tokens out.
#pragma once
#include "model/config.h"
#include "model/grids.h"
#include "nn/layers.h"

namespace ov {

// A pre-norm transformer block of the tower.
struct VisionBlock {
  VisionBlock(Parameters& set, const std::string& name, const VisionConfig& config);
  Var attention(const Var& u_NC, const RopeTable& rope, const VisionLayout& layout) const;
  Var mlp(const Var& u_NC) const;
  Var forward(const Var& h_NC, const RopeTable& rope, const VisionLayout& layout) const;

  const Parameters* set;
  std::string name;
  int block;                     // Parameters::begin_block
  std::int64_t heads, head_dim;  // heads of this rank
  LayerNorm norm1, norm2;
  Linear qkv, proj, fc1, fc2;
};

// 2x2 neighbouring patches become one token of the decoder's width.
struct Merger {
  Merger(Parameters& set, const std::string& name, const VisionConfig& config, std::int64_t text_hidden);
  Var forward(const Var& h_PC) const;

  std::string name;
  std::int64_t group;  // patches a token
  LayerNorm ln_q;
  Linear fc1, fc2;
};

// A batch's pixels as the tower reads them: where its parameters are, and rounded to their dtype.
Var pixels_on(Tape* tape, const Tensor& pixels, const Parameters& parameters);

constexpr std::int64_t every_block = INT64_MAX;

// recomputed: the first so many blocks keep no activations and are run again in backward (autograd/ops.h, recompute).
struct RiceVit {
  RiceVit(Parameters& set, const VisionConfig& config);
  // pixel_values [P, 3·14·14] in merge-block order -> [N, C], N = P + one class token a frame, which comes first. Of
  // tensor-parallel ranks own rows.
  Var rows(const Var& pixels, const VisionLayout& layout, std::int64_t recomputed) const;
  // The same without class tokens: [P, C].
  Var forward(const Var& pixels, const VisionLayout& layout, std::int64_t recomputed) const;

  const Parameters* set;
  VisionConfig config;
  Parameter *class_embedding, *class_pos_emb, *patch_embed;
  LayerNorm pre_layernorm;
  std::vector<VisionBlock> blocks;
  const Tensor* inv_freq;  // [D/4] f32
};

}  // namespace ov
