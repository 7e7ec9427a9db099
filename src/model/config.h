// What a LLaVA-OneVision-1.5 model is: the shapes and constants of config.json (as HF's configuration classes have
// them), and which of the two reference implementations' constants are used where they disagree.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace ov {

// check(): input_error when a number is out of range or does not fit the others. `where` is the config.json that the
// message names; empty, and it names the program's own keys.
struct VisionConfig {
  std::int64_t depth = 24, hidden = 1024, heads = 16, intermediate = 4096;
  std::int64_t patch = 14, merge = 2, channels = 3;  // pixels a side; patches a side of a token; colours
  double rope_theta = 10000;
  double layer_norm_eps = 1e-5;   // what config.json says: hf's of the two below, whatever is computed with
  double pre_norm_eps = 1e-5;     // hf 1e-5, megatron 1e-4
  double block_norm_eps = 1e-5;   // both
  double merger_norm_eps = 1e-5;  // hf 1e-5, megatron 1e-6
  std::int64_t head_dim() const { return hidden / heads; }
  std::int64_t patch_values() const { return channels * patch * patch; }
  void check(const std::string& where = "") const;
};

struct TextConfig {
  std::int64_t vocabulary = 151936, hidden = 2560, intermediate = 9728, layers = 36, heads = 32, kv_heads = 8,
               head_dim = 128;
  std::int64_t max_positions = 262144;
  double rope_theta = 5e6, norm_eps = 1e-6;
  bool qk_norm = true, qkv_bias = false, tied = false;
  // Transformers' attention_bias: Qwen3's classes have it on the output projection too. Qwen2.5, whose heads have no
  // norms, has it on q, k, v alone.
  bool o_bias() const { return qkv_bias && qk_norm; }
  // A mixture of experts in every sparse_step-th layer but those that are listed; no expert: the model is dense.
  std::int64_t experts = 0, experts_per_token = 8, expert_intermediate = 768, sparse_step = 1;
  std::vector<std::int64_t> mlp_only_layers = {};
  bool norm_topk_prob = true;           // the chosen experts' probabilities are divided by their sum
  double router_aux_loss_coef = 0.001;  // of the load-balancing loss; 0: there is none
  bool is_moe(std::int64_t layer) const;
  void check(const std::string& where = "") const;
};

struct ModelConfig {
  VisionConfig vision;
  TextConfig text;
  bool has_tower = true;  // false: a language model alone, whose config.json is its text_config
  std::int64_t image_token = 151655, video_token = 151656, vision_start_token = 151652;
  bool hf_shift_bug = false;  // the released HF code's strip of class tokens, wrong from the second image on
  bool per_frame = true;      // hf: every frame of a video is a segment with a class token; megatron: every video
  Json source;                // the config.json it came from: json() repeats the keys that mean nothing here

  // config.json, of a whole model or of a qwen2, qwen3 or qwen3_moe alone. `where` names it in errors. The rules are
  // those of model/config_read.cpp.
  static ModelConfig read(const Json& json, const std::string& where);
  Json json() const;                            // as Transformers writes it
  void use_reference(const std::string& name);  // numerics.reference: "hf" or "megatron"
  void check(const std::string& where = "") const;
};

// One part of a model. `vision`: a vision_config, or RICE-ViT's own (MLCD's names for the same keys). `config`: a
// config.json with a text_config, or of a language model alone, where a qwen2, qwen3 or qwen3_moe has its class's
// defaults.
VisionConfig read_vision_config(const Json& vision, const std::string& where);
TextConfig read_text_config(const Json& config, const std::string& where);

// What every config.json may hold beside a model's own keys, and words of keys that change what a model computes: for
// JsonSection::finish.
const char* config_bookkeeping();
const std::vector<const char*>& config_arithmetic();

}  // namespace ov
