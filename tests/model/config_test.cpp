// config.json: what is read, what has a default, and what is refused by name.
#include "model/config.h"

#include <doctest/doctest.h>

#include <functional>

#include "base/error.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

Json whole() {
  ModelConfig c;
  c.vision = {.depth = 2, .hidden = 48, .heads = 3, .intermediate = 96};
  c.text = {.vocabulary = 97, .hidden = 40, .intermediate = 72, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 16};
  c.text.rope_theta = 1e4;
  return c.json();
}

Json language() {
  Json text = whole().at("text_config");
  text.set("model_type", "qwen3");
  return text;
}

Json without(const Json& object, const std::string& key) {
  Json out = Json::object();
  for (const auto& [name, value] : object.members())
    if (name != key) out.set(name, value);
  return out;
}

Json with(Json object, const std::string& key, const Json& value) {
  object.set(key, value);
  return object;
}

// The same change to a part of a whole config.json.
Json changed(const std::string& part, const std::function<Json(Json)>& change) {
  Json config = whole();
  if (part.empty()) return change(config);
  config.set(part, change(config.at(part)));
  return config;
}

std::string refused(const Json& config) {
  return thrown([&] { ModelConfig::read(config, "c.json"); });
}

Json rope(const std::string& text) { return Json::parse(text, "test"); }

}  // namespace

TEST_CASE("config.json: what is written is read, and every key of shape and frequency must be there") {
  CHECK(ModelConfig::read(whole(), "c.json").json().dump() == whole().dump());
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "num_key_value_heads", "rope_theta"})
    CHECK(contains(refused(changed("text_config", [&](const Json& t) { return without(t, key); })),
                   cat("c.json: text_config: ", key, " is missing")));
  for (const char* key : {"depth", "num_heads", "intermediate_size", "patch_size", "spatial_merge_size"})
    CHECK(contains(refused(changed("vision_config", [&](const Json& t) { return without(t, key); })),
                   cat("c.json: vision_config: ", key, " is missing")));
  for (const char* key : {"hidden_size", "num_attention_heads", "rms_norm_eps", "head_dim"})
    CHECK(contains(refused(changed("text_config", [&](const Json& t) { return with(t, key, Json()); })), key));
  for (const char* key : {"text_config", "vision_config"})
    CHECK(contains(refused(without(whole(), key)), cat("c.json: ", key, " is missing")));
}

TEST_CASE("config.json: defaults are those of the class; null key heads are as many as heads") {
  const TextConfig own =
      ModelConfig::read(changed("text_config",
                                [](Json t) {
                                  for (const char* key : {"head_dim", "rms_norm_eps", "attention_bias",
                                                          "tie_word_embeddings", "max_position_embeddings"})
                                    t = without(t, key);
                                  return t;
                                }),
                        "c.json")
          .text;
  CHECK(own.head_dim == 128);  // never hidden / heads
  CHECK(own.norm_eps == 1e-6);
  CHECK(own.max_positions == 262144);
  CHECK(!own.qkv_bias);
  CHECK(!own.tied);
  CHECK(ModelConfig::read(changed("text_config", [](const Json& t) { return with(t, "num_key_value_heads", Json()); }),
                          "c")
            .text.kv_heads == 4);

  Json qwen3 = language();
  for (const char* key : {"head_dim", "rope_theta", "max_position_embeddings"}) qwen3 = without(qwen3, key);
  const TextConfig t = read_text_config(qwen3, "q.json");
  CHECK(t.rope_theta == 10000);
  CHECK(t.head_dim == 128);
  CHECK(t.max_positions == 32768);
  CHECK(contains(thrown([&] { read_text_config(without(without(language(), "rope_theta"), "model_type"), "q.json"); }),
                 "q.json: rope_theta is missing"));
  CHECK(contains(thrown([&] { read_text_config(with(language(), "model_type", "llama"), "q.json"); }),
                 "q.json: model_type is \"llama\""));
  CHECK(contains(thrown([&] {
                   read_text_config(with(without(language(), "num_key_value_heads"), "num_attention_heads", 3),
                                    "q.json");
                 }),
                 "3 heads cannot share 32 key heads"));
}

TEST_CASE("config.json: the rotary base stands in rope_theta or in rope_parameters, in its part or at the top (M-14)") {
  const auto theta = [](const Json& config) { return ModelConfig::read(config, "c.json").text.rope_theta; };
  const auto text = [](const char* key, const Json& value, bool keep = false) {
    return changed("text_config", [&](const Json& t) { return with(keep ? t : without(t, "rope_theta"), key, value); });
  };
  CHECK(theta(text("rope_parameters", rope(R"({"rope_theta": 1e6, "rope_type": "default"})"))) == 1e6);
  CHECK(theta(text("rope_scaling", rope(R"({"rope_theta": 1e6, "type": "mrope", "mrope_section": [16, 24, 24]})"))) ==
        1e6);
  CHECK(theta(text("rope_scaling", rope(R"({"rope_type": "default", "factor": 4})"), true)) == 1e4);
  CHECK(theta(text("rope_parameters", Json(), true)) == 1e4);
  const Json bare = changed("text_config", [](const Json& t) { return without(t, "rope_theta"); });
  CHECK(theta(with(bare, "rope_parameters", rope(R"({"rope_theta": 7e5})"))) == 7e5);
  CHECK(theta(with(bare, "rope_theta", 7e5)) == 7e5);
  CHECK(read_text_config(with(bare, "rope_theta", 7e5), "c.json").rope_theta == 7e5);

  const auto says = [&](const Json& config, const std::string& part) {
    const std::string said = refused(config);
    CHECK_MESSAGE(contains(said, part), said);
  };
  says(text("rope_parameters", rope(R"({"rope_theta": 1e6})"), true), "rope_parameters.rope_theta is 1e+06 where");
  says(text("rope_parameters", rope(R"({"rope_type": "yarn", "rope_theta": 1e4, "factor": 4})"), true),
       "rope_parameters.rope_type is \"yarn\"");
  says(text("rope_scaling", rope(R"({"type": "linear", "factor": 2})"), true), "rope_scaling.type is \"linear\"");
  says(text("rope_parameters", rope(R"({"full_attention": {"rope_theta": 1e4}})"), true),
       "rope_parameters.full_attention");
  says(text("rope_parameters", rope(R"({"rope_theta": 1e4, "partial_rotary_factor": 0.5})"), true),
       "partial_rotary_factor");
  says(text("partial_rotary_factor", 0.5, true), "text_config: partial_rotary_factor is 0.5");
  says(text("rope_scaling", rope(R"({"factor": 2})"), true), "rope_scaling.factor is 2");
  says(text("rope_scaling", "yarn", true), "rope_scaling: expected an object");
  says(text("rope_parameters", rope(R"({"rope_type": "default"})")), "rope_theta is missing");
  says(with(whole(), "rope_scaling", rope(R"({"rope_type": "dynamic", "factor": 2})")),
       "c.json: rope_scaling.rope_type");
  says(changed("vision_config", [](const Json& v) { return with(v, "rope_theta", 1e6); }), "vision_config: rope_theta");
}

TEST_CASE(
    "config.json: a key that changes the arithmetic is read or refused by name, and asking for what is built is fine") {
  const auto text = [](const char* key, const Json& value) {
    return refused(changed("text_config", [&](const Json& t) { return with(t, key, value); }));
  };
  const auto vision = [](const char* key, const Json& value) {
    return refused(changed("vision_config", [&](const Json& t) { return with(t, key, value); }));
  };
  const std::pair<const char*, Json> in_text[] = {{"hidden_act", "gelu"},
                                                  {"use_sliding_window", true},
                                                  {"num_experts", 8},
                                                  {"mlp_bias", true},
                                                  {"attention_dropout", 0.1},
                                                  {"final_logit_softcapping", 30},
                                                  {"attn_logit_softcapping", 50.0},
                                                  {"query_pre_attn_scalar", 256},
                                                  {"logit_scale", 0.5},
                                                  {"embedding_multiplier", 12},
                                                  {"use_qk_norm", false},
                                                  {"qk_norm", false},
                                                  {"use_rope", false},
                                                  {"is_causal", false},
                                                  {"use_bidirectional_attention", true},
                                                  {"clip_qkv", 8},
                                                  {"no_rope_layers", rope("[1]")},
                                                  {"quantization_config", rope(R"({"bits": 4})")},
                                                  {"layer_types", rope(R"(["full_attention", "sliding_attention"])")},
                                                  {"layer_types", rope(R"(["full_attention"])")}};
  for (const auto& [key, value] : in_text)
    CHECK_MESSAGE(contains(text(key, value), cat("c.json: text_config: ", key)), key);
  const std::pair<const char*, Json> in_vision[] = {{"hidden_act", "quick_gelu"},
                                                    {"temporal_patch_size", 2},
                                                    {"fullatt_block_indexes", rope("[7]")},
                                                    {"window_size", 112},
                                                    {"attention_dropout", 0.1},
                                                    {"in_channels", 4},
                                                    {"embed_dim", 64}};
  for (const auto& [key, value] : in_vision)
    CHECK_MESSAGE(contains(vision(key, value), cat("c.json: vision_config: ", key)), key);
  CHECK(contains(vision("text_hidden_size", 2560), "text_hidden_size is 2560 where text_config.hidden_size is 40"));
  CHECK(contains(refused(with(whole(), "quantization_config", rope(R"({"bits": 4})"))), "c.json: quantization_config"));

  // Transformers 5's name for num_experts: read in its place, and refused where the two differ.
  CHECK(contains(text("num_local_experts", 8), "c.json: text_config: num_experts_per_tok"));
  CHECK(text("num_local_experts", 0).empty());
  const auto mixture = [](const char* key, std::int64_t local) {
    Json config = Json::read("tests/golden/moe/checkpoint/config.json");
    Json renamed = Json::object();
    for (const auto& [name, value] : config.members()) renamed.set(name == "num_experts" ? key : name, value);
    if (local > 0) renamed.set("num_local_experts", local);
    return read_text_config(renamed, "c.json").experts;
  };
  CHECK(mixture("num_local_experts", 0) == mixture("num_experts", 0));
  CHECK(mixture("num_experts", mixture("num_experts", 0)) == mixture("num_experts", 0));
  CHECK(contains(thrown([&] { mixture("num_experts", 3); }), "num_local_experts is 3 where num_experts is "));
  for (const char* key : {"num_experts", "mlp_bias", "final_logit_softcapping", "quantization_config"})
    CHECK(text(key, Json()).empty());
  CHECK(text("mlp_bias", false).empty());
  CHECK(text("num_experts", 0).empty());
  CHECK(text("use_qk_norm", true).empty());
  CHECK(text("unheard_of", 3).empty());  // said on stderr
  // A window that no layer uses: Qwen3Config turns it off, the original's class reads layer_types.
  CHECK(text("sliding_window", 4096).empty());
  CHECK(thrown([] {
          read_text_config(with(without(language(), "layer_types"), "sliding_window", 4096), "q.json");
        }).empty());
  CHECK(contains(refused(changed("text_config",
                                 [](const Json& t) {
                                   return with(with(without(t, "layer_types"), "sliding_window", 4096),
                                               "max_window_layers", 1);
                                 })),
                 "sliding_window"));
}

TEST_CASE("config.json: numbers out of range and products that no model has are refused with file and key") {
  const std::int64_t huge = std::int64_t{1} << 62;
  const auto text = [](const char* key, const Json& value) {
    return contains(refused(changed("text_config", [&](const Json& t) { return with(t, key, value); })),
                    cat("c.json: text_config: ", key));
  };
  const auto vision = [](const char* key, const Json& value) {
    return contains(refused(changed("vision_config", [&](const Json& t) { return with(t, key, value); })),
                    cat("c.json: vision_config: ", key));
  };
  for (const std::int64_t bad : {std::int64_t{0}, std::int64_t{-2}, huge, huge + 1}) {
    for (const char* key : {"vocab_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                            "num_key_value_heads", "head_dim", "max_position_embeddings"})
      CHECK_MESSAGE(text(key, bad), key);
    for (const char* key : {"depth", "num_heads", "intermediate_size", "patch_size", "spatial_merge_size"})
      CHECK_MESSAGE(vision(key, bad), key);
    ModelConfig c = ModelConfig::read(whole(), "c.json");
    c.text.hidden = bad;  // in the file, the tower's text_hidden_size would speak first
    CHECK(contains(thrown([&] { c.check("c.json"); }), "c.json: text_config: hidden_size is "));
    CHECK(contains(thrown([&] { c.check(); }), "text.hidden is "));
    c.text.hidden = 40, c.vision.hidden = bad;
    CHECK(contains(thrown([&] { c.check("c.json"); }), "c.json: vision_config: hidden_size is "));
  }
  CHECK(text("head_dim", 15));
  CHECK(text("head_dim", 1 << 20));                // in four heads: wider than any model
  CHECK(text("num_key_value_heads", 3) == false);  // named with the heads that it must divide
  for (const double bad : {0.0, -1.0, 0.5, 1e40}) CHECK(text("rope_theta", bad));
  for (const double bad : {0.0, -1.0, 2.0}) CHECK(text("rms_norm_eps", bad));
  CHECK(vision("layer_norm_eps", -1e-5));
  CHECK(vision("spatial_merge_size", 1024));
}

TEST_CASE("config.json: keys that mean nothing here come back when it is written, other spellings do not") {
  Json config = with(whole(), "auto_map", rope(R"({"AutoConfig": "a.B"})"));
  config = with(config, "torch_dtype", "bfloat16");
  Json text = with(without(config.at("text_config"), "rope_theta"), "rope_parameters", rope(R"({"rope_theta": 3e4})"));
  config.set("text_config", with(text, "pad_token_id", 9));
  const Json out = ModelConfig::read(config, "c.json").json();
  CHECK(out.at("auto_map").dump() == R"({"AutoConfig":"a.B"})");
  CHECK(out.at("torch_dtype").as_string() == "float32");  // what is written beside it
  CHECK(out.at("text_config").at("pad_token_id").as_int() == 9);
  CHECK(out.at("text_config").at("rope_theta").as_double() == 3e4);
  CHECK(!out.at("text_config").find("rope_parameters"));
  CHECK(ModelConfig::read(out, "c.json").json().dump() == out.dump());
}
