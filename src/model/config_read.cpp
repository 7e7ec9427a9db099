// config.json. No value of one model stands in for another's:
//   shapes and rotary frequencies   must be there; a default holds only where Transformers' class has the same one
//   keys that change the arithmetic are read, or refused by name unless they ask for what is built
//   keys that nobody here knows     are named on stderr, unless they are off (null, false, 0, empty)
#include "base/json_section.h"
#include "model/config.h"

namespace ov {
namespace {

// Bookkeeping of Transformers' PretrainedConfig, and what only training or sampling there would read.
constexpr const char* harmless =
    " _attn_implementation _attn_implementation_autoset _commit_hash _name_or_path architectures auto_map "
    "bos_token_id diversity_penalty dtype eos_token_id id2label ignore_index image_size initializer_factor "
    "initializer_range is_decoder label2id length_penalty max_length model_type num_beam_groups num_beams "
    "num_return_sequences output_attentions pad_token_id projection_dim repetition_penalty return_dict temperature "
    "tie_encoder_decoder top_k top_p torch_dtype transformers_version typical_p use_cache vision_end_token_id "
    "vision_token_id ";

// A key with one of these in its name changes what a model computes.
// clang-format off
const std::vector<const char*> arithmetic = {
    "_eps", "activation", "alibi", "attn_temperature", "bias", "bidirectional", "chunk", "clip_", "deepstack",
    "dropout", "expert", "fullatt", "head_dim", "hidden_act", "lora", "moe_", "multiplier", "norm_type", "parallel_",
    "position_embedding", "pruned", "qk_norm", "quant", "rope", "rotary", "scal", "sliding", "soft_cap", "softcap",
    "sparse", "window"};
// clang-format on

// The base of the rotary frequencies, which Transformers 4 writes as rope_theta and 5 into rope_parameters.
// rope_scaling is what 4 calls the rest of that object. Refused: any scaling, and two bases.
void read_rope(JsonSection& s, std::optional<double>& theta) {
  const auto found = [&](const std::string& key, const Json& value) {
    if (!value.is_number()) input_error(s.where(), ": ", key, ": expected a number, found ", JsonSection::shown(value));
    if (theta && *theta != value.as_double())
      input_error(s.where(), ": ", key, " is ", value.as_double(), " where another key says ", *theta);
    theta = value.as_double();
  };
  if (const Json* v = s.find("rope_theta")) found("rope_theta", *v);
  s.only("partial_rotary_factor", {1});
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const Json* rope = s.find(key);
    if (!rope) continue;
    if (!rope->is_object())
      input_error(s.where(), ": ", key, ": expected an object, found ", JsonSection::shown(*rope));
    const bool typed = rope->find("rope_type") || rope->find("type");
    for (const auto& [name, value] : rope->members()) {
      const std::string place = cat(key, ".", name);
      // A scaling's numbers mean nothing beside the type "default"; the original takes "mrope" for it.
      constexpr const char* unused =
          " factor original_max_position_embeddings attention_factor beta_fast beta_slow "
          "short_factor long_factor low_freq_factor high_freq_factor mrope_section ";
      if (name == "rope_theta" && !value.is_null()) found(place, value);
      else if (name == "rope_type" || name == "type") {
        if (!value.is_null() && value.dump() != "\"default\"" && value.dump() != "\"mrope\"")
          input_error(s.where(), ": ", place, " is ", JsonSection::shown(value),
                      "; only \"default\", no scaling, is built");
      } else if (!JsonSection::off(value) &&
                 !(name == "partial_rotary_factor" && value.is_number() && value.as_double() == 1) &&
                 !(typed && std::string(unused).find(" " + name + " ") != std::string::npos))
        input_error(s.where(), ": ", place, " is ", JsonSection::shown(value), "; nothing like it is built");
    }
  }
}

void check_full_attention(JsonSection& s, std::int64_t layers, bool own_class) {
  s.only("use_sliding_window", {false});
  const bool window = s.find("sliding_window") != nullptr;
  const Json* limit = s.find("max_window_layers");
  const std::int64_t first = limit && limit->is_integer() ? limit->as_int() : 36;  // layers that see all before it
  const Json* types = s.find("layer_types");
  if (!types) {
    if (window && own_class && first < layers)
      input_error(s.where(), ": sliding_window is set for the layers from ", first,
                  " on; only full attention is built");
    return;
  }
  if (!types->is_array() || static_cast<std::int64_t>(types->size()) < layers)
    input_error(s.where(), ": layer_types: expected ", layers, " names, one a layer, found ",
                types->is_array() ? cat(types->size()) : JsonSection::shown(*types));
  for (std::size_t i = 0; i < types->size(); ++i)
    if ((*types)[i].dump() != "\"full_attention\"")
      input_error(s.where(), ": layer_types: layer ", i, " is ", JsonSection::shown((*types)[i]),
                  "; only \"full_attention\" is built");
}

// own_class: a qwen3_moe, whose class has defaults. Elsewhere the numbers that change the arithmetic must be there.
void read_experts(JsonSection& s, TextConfig& t, bool own_class) {
  const auto missing = [&](std::int64_t value) {
    return own_class ? std::optional<std::int64_t>(value) : std::nullopt;
  };
  // Transformers 5 writes num_local_experts where 4 has num_experts.
  const Json *four = s.find("num_experts"), *five = s.find("num_local_experts");
  if (four && five && four->dump() != five->dump())
    input_error(s.where(), ": num_local_experts is ", five->shown(), " where num_experts is ", four->shown());
  t.experts = s.integer(five ? "num_local_experts" : "num_experts", missing(128));
  t.experts_per_token = s.integer("num_experts_per_tok", missing(8));
  t.expert_intermediate = s.integer("moe_intermediate_size", missing(768));
  t.sparse_step = s.integer("decoder_sparse_step", 1);
  if (!own_class && !s.find("norm_topk_prob")) input_error(s.where(), ": norm_topk_prob is missing");
  t.norm_topk_prob = s.flag("norm_topk_prob", false);
  t.router_aux_loss_coef = s.number("router_aux_loss_coef", 0.001);
  s.find("output_router_logits");  // whether Transformers returns them: the coefficient says what the loss is
  if (const Json* layers = s.find("mlp_only_layers")) {
    if (!layers->is_array()) input_error(s.where(), ": mlp_only_layers: expected a list of layers");
    for (const Json& layer : layers->items()) {
      if (!layer.is_integer())
        input_error(s.where(), ": mlp_only_layers: expected numbers of layers, found ", JsonSection::shown(layer));
      t.mlp_only_layers.push_back(layer.as_int());
    }
  }
}

// A language model's own class in Transformers.
bool is_language_model(const std::string& type) { return type == "qwen2" || type == "qwen3" || type == "qwen3_moe"; }

// alone: a language model's own config.json. theta: what the top level of a whole one says.
TextConfig read_text(const Json& json, const std::string& where, bool alone, std::optional<double> theta) {
  JsonSection s(json, where);
  const std::string type = s.text("model_type");
  const bool moe = type == "qwen3_moe", qwen2 = type == "qwen2", own_class = alone && is_language_model(type);
  if (!type.empty() && !is_language_model(type) && !type.starts_with("LLaVAOneVision1_5") && !type.starts_with("llava"))
    input_error(where, ": model_type is \"", type,
                "\"; only qwen2, qwen3, qwen3_moe and LLaVAOneVision1_5_text are built");
  TextConfig t;
  t.vocabulary = s.integer("vocab_size");
  t.hidden = s.integer("hidden_size");
  t.intermediate = s.integer("intermediate_size");
  t.layers = s.integer("num_hidden_layers");
  t.heads = s.integer("num_attention_heads");
  const Json* kv = json.find("num_key_value_heads");
  if (kv && kv->is_null()) t.kv_heads = t.heads;  // as both classes take it
  else
    t.kv_heads = s.integer("num_key_value_heads", own_class ? std::optional<std::int64_t>(moe ? 4 : 32) : std::nullopt);
  s.find("num_key_value_heads");
  std::optional<std::int64_t> head_dim = 128;
  if (alone && type.empty()) head_dim = std::nullopt;
  else if (moe || qwen2) head_dim = t.hidden / std::max<std::int64_t>(1, t.heads);  // these classes have no value
  t.head_dim = s.integer("head_dim", head_dim);
  t.max_positions = s.integer("max_position_embeddings", own_class ? 32768 : 262144);
  t.norm_eps = s.number("rms_norm_eps", 1e-6);
  // Qwen2's class has biases without a key for them, and no norms of heads; the others have these always.
  if (own_class && qwen2) s.only("attention_bias", {true});
  t.qkv_bias = s.flag("attention_bias", qwen2);
  t.qk_norm = !qwen2;
  for (const char* key : {"use_qk_norm", "qk_norm", "qk_layernorm"}) s.only(key, {t.qk_norm});
  t.tied = s.flag("tie_word_embeddings", false);
  read_rope(s, theta);
  if (!theta && own_class) theta = 10000;
  if (!theta)
    input_error(where, ": rope_theta is missing, here and in rope_parameters; there is no value that fits every model");
  t.rope_theta = *theta;
  const Json* four = json.find("num_experts");
  if (const Json* n = four ? four : json.find("num_local_experts"); moe || (!own_class && n && !JsonSection::off(*n)))
    read_experts(s, t, moe);
  t.check(where);
  check_full_attention(s, t.layers, !own_class);
  s.only("hidden_act", {"silu", "swish"});
  for (const char* key : {"is_causal", "causal", "use_rope", "use_rotary", "use_rmsnorm"}) s.only(key, {true});
  s.find("image_token_id"), s.find("video_token_id");  // the original's class keeps copies of the top level's
  s.finish(harmless, arithmetic);
  return t;
}

VisionConfig read_vision(const Json& json, const std::string& where, std::int64_t text_hidden) {
  JsonSection s(json, where);
  VisionConfig v;
  v.depth = s.integer("depth");
  v.hidden = s.integer(json.find("hidden_size") ? "hidden_size" : "embed_dim");
  if (s.integer("embed_dim", v.hidden) != v.hidden)
    input_error(where, ": embed_dim is ", json.at("embed_dim").shown(), " where hidden_size is ", v.hidden);
  v.heads = s.integer("num_heads");
  v.intermediate = s.integer("intermediate_size");
  v.patch = s.integer("patch_size");
  v.merge = s.integer("spatial_merge_size");
  v.channels = s.integer("in_channels", 3);
  v.layer_norm_eps = v.pre_norm_eps = v.merger_norm_eps = s.number("layer_norm_eps", 1e-5);
  v.check(where);
  s.only("temporal_patch_size", {1});
  s.only("hidden_act", {"gelu", "gelu_python"});
  s.only("num_key_value_groups", {1});
  for (const char* key : {"text_hidden_size", "out_hidden_size"})
    if (text_hidden > 0 && s.integer(key, text_hidden) != text_hidden)
      input_error(where, ".", key, " is ", json.at(key).shown(), " where text_config.hidden_size is ", text_hidden);
    else s.find(key);
  std::optional<double> theta = v.rope_theta;
  read_rope(s, theta);
  s.find("tie_word_embeddings");  // PretrainedConfig's, of no meaning to a tower
  s.finish(harmless, arithmetic);
  return v;
}

}  // namespace

const char* config_bookkeeping() { return harmless; }
const std::vector<const char*>& config_arithmetic() { return arithmetic; }

VisionConfig read_vision_config(const Json& json, const std::string& where) {
  Json vision = json;
  for (const auto& [from, to] : {std::pair{"num_hidden_layers", "depth"}, std::pair{"num_attention_heads", "num_heads"},
                                 std::pair{"num_channels", "in_channels"}})
    if (const Json* value = json.find(from)) {
      if (!json.find(to)) vision.set(to, *value);
      vision.set(from, Json());
    }
  return read_vision(vision, where, 0);
}

TextConfig read_text_config(const Json& json, const std::string& where) {
  const Json* part = json.is_object() ? json.find("text_config") : nullptr;
  std::optional<double> theta;
  JsonSection top(json, where);
  if (part) read_rope(top, theta);
  const std::string place = part ? where + ": text_config" : where;
  return read_text(part ? *part : json, place, !part, theta);
}

ModelConfig ModelConfig::read(const Json& json, const std::string& where) {
  JsonSection top(json, where);
  if (is_language_model(top.text("model_type"))) {
    ModelConfig c;
    c.source = json;
    c.text = read_text(json, where, true, {});
    c.has_tower = false;
    return c;
  }
  const auto part = [&](const char* key) -> const Json& {
    const Json* p = top.find(key);
    if (!p || !p->is_object()) input_error(where, ": ", key, " is missing; a LLaVA-OneVision-1.5 config.json has one");
    return *p;
  };
  const Json &vision = part("vision_config"), &text = part("text_config");
  std::optional<double> theta;
  read_rope(top, theta);

  ModelConfig c;
  c.source = json;
  c.text = read_text(text, where + ": text_config", false, theta);
  c.vision = read_vision(vision, where + ": vision_config", c.text.hidden);
  c.image_token = top.integer("image_token_id", c.image_token);
  c.video_token = top.integer("video_token_id", c.video_token);
  c.vision_start_token = top.integer("vision_start_token_id", c.vision_start_token);
  top.find("vocab_size"), top.find("tie_word_embeddings");  // text_config's count: the original has both wrong here
  top.finish(harmless, arithmetic);
  return c;
}

}  // namespace ov
