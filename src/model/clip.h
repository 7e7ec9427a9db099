// CLIP (Radford et al. 2021) as Transformers' CLIPModel has it: a picture and a text become one direction each, and
// what belongs together points the same way.
//
//   picture  patches, a class token first, + learned positions -> norm -> blocks, full attention -> its class token
//   text     tokens + learned positions                        -> blocks, causal             -> its end (pooled_token)
//   both     norm -> projection without bias -> divided by its length
//   z_ij = e^s a_i·b_j        a_i the picture's direction, b_j the text's, s = logit_scale
#pragma once
#include <memory>
#include <span>

#include "model/clip_config.h"
#include "nn/init.h"
#include "nn/layers.h"

namespace ov {

// Sequences one after another: positions from 0 and a segment of its own for each.
struct ClipLayout {
  ClipLayout(const std::vector<std::int64_t>& lengths, bool causal, Device& device);
  std::vector<std::int64_t> begins;  // the first row of each
  Tensor positions;                  // [N] i64
  std::shared_ptr<const kernels::Segments> segments;
};

// A pre-norm transformer block of either tower.
struct ClipBlock {
  ClipBlock(Parameters& set, const std::string& name, const ClipTowerConfig& config);
  Var attention(const Var& u_NC, const ClipLayout& layout) const;
  Var forward(const Var& h_NC, const ClipLayout& layout) const;

  std::string name;
  std::int64_t heads, head_dim;
  kernels::GeluForm act;
  LayerNorm norm1, norm2;
  Parameter *qkv_w, *qkv_b;  // q, k and v under one another
  Linear out_proj, fc1, fc2;
};

struct ClipInputs {
  Tensor pixel_values;  // [pictures · patches, C·p·p] of the model's dtype, row by row of each picture
  std::vector<std::int64_t> input_ids;  // the texts one after another
  std::vector<std::int64_t> text_lengths;
};

class ClipModel {
 public:
  explicit ClipModel(const ClipConfig& config);
  ClipModel(const ClipModel&) = delete;

  Var image_embeds(Tape* tape, const ClipInputs& inputs) const;  // [pictures, E], of length 1
  Var text_embeds(Tape* tape, const ClipInputs& inputs) const;   // [texts, E], of length 1
  Var logits(const Var& a, const Var& b) const;                  // e^s a bᵀ

  const ClipConfig& config() const { return config_; }
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }
  Parameter& logit_scale() const { return *logit_scale_; }

 private:
  ClipConfig config_;
  Parameters parameters_;
  Parameter *token_table_, *text_positions_;
  std::vector<ClipBlock> text_blocks_;
  LayerNorm final_layer_norm_;
  Parameter *class_embedding_, *patch_embedding_, *image_positions_;
  LayerNorm pre_layernorm_;
  std::vector<ClipBlock> vision_blocks_;
  LayerNorm post_layernorm_;
  Linear visual_projection_, text_projection_;
  Parameter* logit_scale_;
};

// nn/init.h, and the logit scale as the configuration has it.
void initialize(ClipModel& model, const InitOptions& options, std::uint64_t seed);

// Which token of a text stands for it. The first eos, or the first token where there is none; with eos 2, which the
// released files say and none of their texts has, the largest id, the first of them: Transformers' two rules.
std::int64_t pooled_token(std::span<const std::int64_t> ids, std::int64_t eos);

// [B, C, H, W] -> [B · patches, C·p·p]: a convolution whose stride is its width is a product over such rows. What is
// left of a side that p does not divide is dropped, as a convolution does.
Tensor patch_rows(const Tensor& pixel_values, std::int64_t patch);

}  // namespace ov
