// What a LLaVA-OneVision-1.5 model is: the shapes and constants of config.json (as HF's configuration classes have
// them), and which of the two reference implementations' constants are used where they disagree.
#pragma once
#include <optional>
#include <string>

#include "base/json.h"

namespace ov {

struct VisionConfig {
  std::int64_t depth = 24, hidden = 1024, heads = 16, intermediate = 4096;
  std::int64_t patch = 14, merge = 2, channels = 3;  // pixels a side; patches a side of a token; colours
  double rope_theta = 10000;
  double pre_norm_eps = 1e-5;     // hf 1e-5, megatron 1e-4
  double block_norm_eps = 1e-5;   // both
  double merger_norm_eps = 1e-5;  // hf 1e-5, megatron 1e-6
  std::int64_t head_dim() const { return hidden / heads; }
  std::int64_t patch_values() const { return channels * patch * patch; }
};

struct TextConfig {
  std::int64_t vocabulary = 151936, hidden = 2560, intermediate = 9728, layers = 36, heads = 32, kv_heads = 8,
               head_dim = 128;
  std::int64_t max_positions = 262144;
  double rope_theta = 5e6, norm_eps = 1e-6;
  bool qk_norm = true, qkv_bias = false, tied = false;
};

struct ModelConfig {
  VisionConfig vision;
  TextConfig text;
  std::int64_t image_token = 151655, video_token = 151656, vision_start_token = 151652;
  bool hf_shift_bug = false;  // the released HF code's strip of class tokens, wrong from the second image on

  // config.json. `where` names it in errors. Refused: activations, mixtures of experts and rotary scalings that are
  // not built here.
  static ModelConfig read(const Json& json, const std::string& where);
  Json json() const;                            // as Transformers writes it
  void use_reference(const std::string& name);  // numerics.reference: "hf" or "megatron"
  void check() const;                           // input_error when the numbers do not fit together
};

}  // namespace ov
