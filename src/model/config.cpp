#include "model/config.h"

#include <algorithm>

#include "base/error.h"

namespace ov {
namespace {

struct Bound {
  const char *key, *own_key;  // in config.json; the program's
  std::int64_t value, most;
};

// Upper ends far beyond any model, so that products of them stay within 64 bits.
constexpr std::int64_t most_layers = 1 << 12, most_heads = 1 << 16, most_width = 1 << 20;

std::string named(const std::string& where, const char* key, const char* own_key) {
  return where.empty() ? own_key : where + ": " + key;
}

void check_bounds(const std::string& where, std::initializer_list<Bound> bounds) {
  for (const Bound& b : bounds)
    if (b.value < 1 || b.value > b.most)
      input_error(named(where, b.key, b.own_key), " is ", b.value, ", expected 1 to ", b.most);
}

void check_eps(const std::string& name, double eps) {
  if (!(eps > 0 && eps <= 1)) input_error(name, " is ", eps, ", expected more than 0 and at most 1");
}

void check_theta(const std::string& name, double theta) {
  if (!(theta >= 1 && theta <= 1e30)) input_error(name, " is ", theta, ", expected 1 to 1e30");
}

}  // namespace

void VisionConfig::check(const std::string& where) const {
  check_bounds(where, {{"depth", "vision.depth", depth, most_layers},
                       {"hidden_size", "vision.hidden", hidden, most_width},
                       {"num_heads", "vision.heads", heads, most_heads},
                       {"intermediate_size", "vision.intermediate", intermediate, most_width},
                       {"patch_size", "vision.patch", patch, 1024},
                       {"spatial_merge_size", "vision.merge", merge, 1024}});
  const auto name = [&](const char* key, const char* own_key) { return named(where, key, own_key); };
  if (channels != 3) input_error(name("in_channels", "channels"), " is ", channels, "; pictures have 3");
  if (hidden % (4 * heads) != 0)
    input_error(name("hidden_size", "vision.hidden"), " ", hidden, " in ", heads,
                " heads: the width of a head must be a multiple of 4");
  if (patch * merge > 1024 || merge * merge * hidden > 16 * most_width)
    input_error(name("spatial_merge_size", "vision.merge"), " is ", merge, " where a patch has ", patch,
                " pixels on a side and ", hidden, " values: a token would be larger than 1024 pixels on a side or ",
                16 * most_width, " values");
  check_theta(name("rope_theta", "rope_theta"), rope_theta);
  for (const double eps : {pre_norm_eps, block_norm_eps, merger_norm_eps})
    check_eps(name("layer_norm_eps", "numerics.pre_norm_eps or merger_norm_eps"), eps);
}

void TextConfig::check(const std::string& where) const {
  check_bounds(where, {{"vocab_size", "text.vocabulary", vocabulary, std::int64_t{1} << 31},
                       {"hidden_size", "text.hidden", hidden, most_width},
                       {"intermediate_size", "text.intermediate", intermediate, most_width},
                       {"num_hidden_layers", "text.layers", layers, most_layers},
                       {"num_attention_heads", "text.heads", heads, most_heads},
                       {"num_key_value_heads", "text.kv_heads", kv_heads, most_heads},
                       {"head_dim", "text.head_dim", head_dim, most_width},
                       {"max_position_embeddings", "text.max_positions", max_positions, std::int64_t{1} << 31}});
  if (experts != 0) {
    check_bounds(where, {{"num_experts", "text.experts", experts, most_layers},
                         {"num_experts_per_tok", "text.experts_per_token", experts_per_token, experts},
                         {"moe_intermediate_size", "text.expert_intermediate", expert_intermediate, most_width},
                         {"decoder_sparse_step", "text.sparse_step", sparse_step, most_layers}});
    if (experts * layers > most_width)
      input_error(named(where, "num_experts", "text.experts"), " is ", experts, " in ", layers, " layers: more than ",
                  most_width, " experts");
    if (!(router_aux_loss_coef >= 0 && router_aux_loss_coef <= 1e6))
      input_error(named(where, "router_aux_loss_coef", "text.router_aux_loss_coef"), " is ", router_aux_loss_coef,
                  ", expected 0 to 1e6");
  }
  const auto name = [&](const char* key, const char* own_key) { return named(where, key, own_key); };
  if (head_dim % 2 != 0) input_error(name("head_dim", "text.head_dim"), " ", head_dim, " is odd");
  if (heads * head_dim > most_width)
    input_error(name("head_dim", "text.head_dim"), " is ", head_dim, " in ", heads, " heads: more than ", most_width,
                " values a token");
  if (heads % kv_heads != 0)
    input_error(name("num_attention_heads", "text.heads"), ": ", heads, " heads cannot share ", kv_heads, " key heads");
  check_theta(name("rope_theta", "text.rope_theta"), rope_theta);
  check_eps(name("rms_norm_eps", "text.norm_eps"), norm_eps);
}

bool TextConfig::is_moe(std::int64_t layer) const {
  return experts > 0 && (layer + 1) % sparse_step == 0 &&
         std::find(mlp_only_layers.begin(), mlp_only_layers.end(), layer) == mlp_only_layers.end();
}

void ModelConfig::check(const std::string& where) const {
  if (has_tower) vision.check(where.empty() ? "" : where + ": vision_config");
  text.check(where.empty() ? "" : has_tower ? where + ": text_config" : where);
}

void ModelConfig::use_reference(const std::string& name) {
  if (name == "megatron") {
    vision.pre_norm_eps = 1e-4;
    vision.merger_norm_eps = 1e-6;
    per_frame = false;
  } else if (name != "hf") {
    input_error("numerics.reference: expected hf or megatron, got ", name);
  }
}

namespace {

// Keys of the source that would contradict what is written: other spellings of it, and types that it no longer has.
constexpr const char* rewritten =
    " rope_parameters rope_theta rope_scaling partial_rotary_factor dtype torch_dtype num_hidden_layers "
    "num_attention_heads num_channels out_hidden_size ";

// `out` with every member that only `from` has.
void carry(Json& out, const Json* from) {
  if (!from || !from->is_object()) return;
  for (const auto& [key, value] : from->members())
    if (!out.find(key) && std::string(rewritten).find(" " + key + " ") == std::string::npos) out.set(key, value);
}

}  // namespace

Json ModelConfig::json() const {
  Json v = Json::object({{"model_type", "rice_vit"},
                         {"depth", vision.depth},
                         {"embed_dim", vision.hidden},
                         {"hidden_size", vision.hidden},
                         {"hidden_act", "gelu"},
                         {"intermediate_size", vision.intermediate},
                         {"num_heads", vision.heads},
                         {"in_channels", vision.channels},
                         {"patch_size", vision.patch},
                         {"spatial_merge_size", vision.merge},
                         {"temporal_patch_size", 1},
                         {"layer_norm_eps", vision.layer_norm_eps},
                         {"text_hidden_size", text.hidden},
                         {"initializer_range", 0.02}});
  const bool mixture = text.experts > 0;
  // Transformers' own class. No other says that heads have no norms.
  const std::string alone = mixture ? "qwen3_moe" : text.qk_norm ? "qwen3" : "qwen2";
  Json t = Json::object(
      {{"model_type", has_tower && alone == "qwen3" ? "LLaVAOneVision1_5_text" : alone},
       {"vocab_size", text.vocabulary},
       {"hidden_size", text.hidden},
       {"intermediate_size", text.intermediate},
       {"num_hidden_layers", text.layers},
       {"num_attention_heads", text.heads},
       {"num_key_value_heads", text.kv_heads},
       {"head_dim", text.head_dim},
       {"hidden_act", "silu"},
       {"max_position_embeddings", text.max_positions},
       {"rope_theta", text.rope_theta},
       {"rope_scaling", Json()},
       {"rms_norm_eps", text.norm_eps},
       {"attention_bias", text.qkv_bias},
       {"attention_dropout", 0.0},
       {"use_sliding_window", false},
       {"sliding_window", Json()},
       {"max_window_layers", text.layers},
       {"use_cache", true},
       {"initializer_range", 0.02},
       {"tie_word_embeddings", text.tied},
       {"layer_types", std::vector<std::string>(static_cast<std::size_t>(text.layers), "full_attention")}});
  if (mixture) {
    t.set("num_experts", text.experts);
    t.set("num_experts_per_tok", text.experts_per_token);
    t.set("moe_intermediate_size", text.expert_intermediate);
    t.set("decoder_sparse_step", text.sparse_step);
    t.set("mlp_only_layers", text.mlp_only_layers);
    t.set("norm_topk_prob", text.norm_topk_prob);
    t.set("router_aux_loss_coef", text.router_aux_loss_coef);
    t.set("output_router_logits", text.router_aux_loss_coef > 0);  // without it Transformers leaves the loss out
  }
  if (!has_tower) {
    t.set("architectures", std::vector<std::string>{mixture        ? "Qwen3MoeForCausalLM"
                                                    : text.qk_norm ? "Qwen3ForCausalLM"
                                                                   : "Qwen2ForCausalLM"});
    t.set("torch_dtype", "float32");
    carry(t, &source);
    return t;
  }
  carry(v, source.is_object() ? source.find("vision_config") : nullptr);
  carry(t, source.is_object() ? source.find("text_config") : nullptr);
  Json out = Json::object({{"architectures", std::vector<std::string>{"LLaVAOneVision1_5_ForConditionalGeneration"}},
                           {"model_type", "llavaonevision1_5"},
                           {"torch_dtype", "float32"},
                           {"image_token_id", image_token},
                           {"video_token_id", video_token},
                           {"vision_start_token_id", vision_start_token},
                           {"tie_word_embeddings", text.tied},
                           {"vocab_size", text.vocabulary},
                           {"vision_config", v},
                           {"text_config", t}});
  carry(out, &source);
  return out;
}

}  // namespace ov
