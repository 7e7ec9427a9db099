#include "model/config.h"

#include "base/error.h"

namespace ov {
namespace {

// Members of one JSON object, with the place in the error.
class Fields {
 public:
  Fields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}
  void read(const char* key, std::int64_t& value) const {
    if (const Json* v = find(key)) value = guarded(key, [&] { return v->as_int(); });
  }
  void read(const char* key, double& value) const {
    if (const Json* v = find(key)) value = guarded(key, [&] { return v->as_double(); });
  }
  void read(const char* key, bool& value) const {
    if (const Json* v = find(key)) value = guarded(key, [&] { return v->as_bool(); });
  }
  void expect(const char* key, const std::string& value) const {
    const Json* v = find(key);
    if (v && guarded(key, [&] { return v->as_string(); }) != value)
      input_error(where_, ": ", key, " is \"", v->as_string(), "\"; only \"", value, "\" is built");
  }
  const Json* find(const char* key) const {
    const Json* v = object_.find(key);
    return v && !v->is_null() ? v : nullptr;
  }

 private:
  template <class F>
  auto guarded(const char* key, F&& f) const -> decltype(f()) {
    try {
      return f();
    } catch (const Error& e) { input_error(where_, ": ", key, ": ", e.what()); }
  }
  const Json& object_;
  std::string where_;
};

void read_vision(const Fields& f, VisionConfig& v) {
  f.read("depth", v.depth);
  f.read("embed_dim", v.hidden);
  f.read("hidden_size", v.hidden);
  f.read("num_heads", v.heads);
  f.read("intermediate_size", v.intermediate);
  f.read("patch_size", v.patch);
  f.read("spatial_merge_size", v.merge);
  f.read("in_channels", v.channels);
  f.read("layer_norm_eps", v.pre_norm_eps);
  f.expect("hidden_act", "gelu");
  v.merger_norm_eps = v.pre_norm_eps;
}

void read_text(const Fields& f, TextConfig& t) {
  f.read("vocab_size", t.vocabulary);
  f.read("hidden_size", t.hidden);
  f.read("intermediate_size", t.intermediate);
  f.read("num_hidden_layers", t.layers);
  f.read("num_attention_heads", t.heads);
  f.read("num_key_value_heads", t.kv_heads);
  t.head_dim = t.hidden / std::max<std::int64_t>(1, t.heads);
  f.read("head_dim", t.head_dim);
  f.read("max_position_embeddings", t.max_positions);
  f.read("rope_theta", t.rope_theta);
  f.read("rms_norm_eps", t.norm_eps);
  f.read("attention_bias", t.qkv_bias);
  f.read("tie_word_embeddings", t.tied);
  f.expect("hidden_act", "silu");
}

}  // namespace

ModelConfig ModelConfig::read(const Json& json, const std::string& where) {
  if (!json.is_object()) input_error(where, ": expected an object, found ", kind_name(json.kind()));
  const Fields top(json, where);
  const Json *vision = top.find("vision_config"), *text = top.find("text_config");
  if (!vision || !vision->is_object())
    input_error(where, ": vision_config is missing; a LLaVA-OneVision-1.5 config.json has one");
  if (!text || !text->is_object())
    input_error(where, ": text_config is missing; a LLaVA-OneVision-1.5 config.json has one");
  const Fields fields(*text, where + ": text_config");
  for (const char* key : {"num_experts", "rope_scaling"})
    if (fields.find(key))
      input_error(where, ": text_config: ", key, " is set; only dense decoders with plain rotary positions are built");

  ModelConfig c;
  read_vision(Fields(*vision, where + ": vision_config"), c.vision);
  read_text(fields, c.text);
  top.read("image_token_id", c.image_token);
  top.read("video_token_id", c.video_token);
  top.read("vision_start_token_id", c.vision_start_token);
  std::int64_t merger_out = c.text.hidden;
  Fields(*vision, where).read("text_hidden_size", merger_out);
  if (merger_out != c.text.hidden)
    input_error(where, ": vision_config.text_hidden_size is ", merger_out, " where text_config.hidden_size is ",
                c.text.hidden);
  c.check();
  return c;
}

void ModelConfig::check() const {
  const auto at_least_one = [](const char* name, std::int64_t value) {
    if (value < 1) input_error("model: ", name, " is ", value, ", expected at least 1");
  };
  at_least_one("vision depth", vision.depth);
  at_least_one("vision heads", vision.heads);
  at_least_one("vision intermediate", vision.intermediate);
  at_least_one("patch", vision.patch);
  at_least_one("merge", vision.merge);
  at_least_one("channels", vision.channels);
  at_least_one("layers", text.layers);
  at_least_one("heads", text.heads);
  at_least_one("key heads", text.kv_heads);
  at_least_one("text intermediate", text.intermediate);
  at_least_one("vocabulary", text.vocabulary);
  if (vision.hidden % (4 * vision.heads) != 0)
    input_error("model: vision hidden ", vision.hidden, " in ", vision.heads,
                " heads: the width of a head must be a multiple of 4");
  if (text.head_dim % 2 != 0) input_error("model: head_dim ", text.head_dim, " is odd");
  if (text.heads % text.kv_heads != 0)
    input_error("model: ", text.heads, " heads cannot share ", text.kv_heads, " key heads");
}

void ModelConfig::use_reference(const std::string& name) {
  if (name == "megatron") {
    vision.pre_norm_eps = 1e-4;
    vision.merger_norm_eps = 1e-6;
  } else if (name != "hf") {
    input_error("numerics.reference: expected hf or megatron, got ", name);
  }
}

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
                         {"layer_norm_eps", vision.pre_norm_eps},
                         {"text_hidden_size", text.hidden},
                         {"initializer_range", 0.02}});
  Json t = Json::object(
      {{"model_type", "LLaVAOneVision1_5_text"},
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
  return Json::object({{"architectures", std::vector<std::string>{"LLaVAOneVision1_5_ForConditionalGeneration"}},
                       {"model_type", "llavaonevision1_5"},
                       {"torch_dtype", "float32"},
                       {"image_token_id", image_token},
                       {"video_token_id", video_token},
                       {"vision_start_token_id", vision_start_token},
                       {"tie_word_embeddings", text.tied},
                       {"vocab_size", text.vocabulary},
                       {"vision_config", v},
                       {"text_config", t}});
}

}  // namespace ov
