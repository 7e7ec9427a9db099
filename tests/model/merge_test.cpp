// Stage 0: two trained parts become one model, to the bit, under any spelling of their names; and what does not fit is
// refused by name.
#include "model/files/merge.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "base/io/file.h"
#include "model/files/hf_directory.h"
#include "model/files/merge_sources.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/model/small_model.h"

using namespace ov;
using namespace ov::test;

namespace {

const std::vector<std::int64_t> prompt = {3, 1, 4, 1, 5, 9, 2, 6};

Tensor value(Onevision& model, const std::string& name) {
  const Parameter* p = model.parameters().find(name);
  REQUIRE_MESSAGE(p, name);
  return p->value;
}

std::vector<NamedTensor> tensors_of(const Onevision& model, const std::string& prefix) {
  std::vector<NamedTensor> out;
  for (const auto& e : model.parameters().entries())
    if (e.parameter.name.starts_with(prefix)) out.push_back({e.parameter.name, e.parameter.value});
  return out;
}

void write_part(const std::string& directory, const Json& config, const std::vector<NamedTensor>& tensors,
                const CheckpointOptions& options = {}) {
  make_directories(directory);
  write_durably(directory + "/config.json", config.dump());
  write_checkpoint(directory, tensors, options);
}

// A model's tower as RICE-ViT is released: MLCD's names, q, k and v apart, and what the merged model has no use for.
std::vector<NamedTensor> mlcd_tensors(const Onevision& model, std::array<int, 3> order = {0, 1, 2}) {
  std::vector<NamedTensor> out;
  const std::int64_t C = model.config().vision.hidden;
  for (const NamedTensor& t : tensors_of(model, "model.visual.")) {
    std::string name = t.name.substr(13);
    if (name.starts_with("merger.")) continue;
    const auto replace = [&](const std::string& from, const std::string& to) {
      if (const auto at = name.find(from); at != name.npos) name.replace(at, from.size(), to);
    };
    replace("class_embedding", "embeddings.class_embedding");
    replace("patch_embed.proj.", "embeddings.patch_embedding.");
    replace("blocks.", "encoder.layers.");
    replace("pre_layernorm", "pre_layrnorm");
    if (name.starts_with("encoder.")) replace(".norm", ".layer_norm");
    replace(".attn.proj.", ".self_attn.out_proj.");
    const auto fused = name.find(".attn.qkv.");
    if (fused == name.npos) {
      out.push_back({"vision_model." + name, t.tensor});
      continue;
    }
    for (int i = 0; i < 3; ++i)
      out.push_back(
          {"vision_model." + name.substr(0, fused) + ".self_attn." + "qkv"[i] + "_proj." + name.substr(fused + 10),
           t.tensor.slice(0, order[static_cast<std::size_t>(i)] * C, (order[static_cast<std::size_t>(i)] + 1) * C)
               .contiguous_copy()});
  }
  const Tensor unused = Tensor::zeros({C}, Dtype::f32, cpu());
  out.push_back({"vision_model.post_layernorm.weight", unused});
  out.push_back({"vision_model.post_layernorm.bias", unused});
  out.push_back({"vision_model.vision_rotary_embedding.inv_freq", unused});
  return out;
}

// Sources in a directory that goes away: a tower and a language model, drawn with different seeds.
struct Sources {
  ScratchDirectory dir;
  std::unique_ptr<Onevision> tower = small_model(Dtype::f32, 11), language;

  explicit Sources(bool own_head = false) {
    ModelConfig c = small_config();
    c.text.tied = !own_head;
    language = std::make_unique<Onevision>(c);
    language->parameters().allocate(Dtype::f32, cpu());
    initialize(language->parameters(), {.matrix = "uniform_fan_in", .embedding_std = 0.5}, 22);
    std::vector<NamedTensor> tower_tensors;
    for (const NamedTensor& t : tensors_of(*tower, "model.visual."))
      if (!t.name.starts_with("model.visual.merger.")) tower_tensors.push_back(t);
    Json vision = tower->config().json().at("vision_config");
    write_part(dir / "tower", Json::object({{"vision_config", vision}}), tower_tensors);
    // As Qwen3 is released: its config.json is the text_config, its names begin with model.
    std::vector<NamedTensor> text = tensors_of(*language, "model.language_model.");
    if (own_head) text.push_back({"lm_head.weight", value(*language, "lm_head.weight")});
    write_part(dir / "language", qwen3_config(), text);
  }
  Json qwen3_config() const {
    Json c = language->config().json().at("text_config");
    c.set("model_type", "qwen3");
    return c;
  }
  MergeOptions options() const {
    MergeOptions o;
    o.tower = dir / "tower";
    o.language = dir / "language";
    o.described = small_config();
    o.seed = 7;
    return o;
  }
};

std::string refusal(const MergeOptions& o) {
  return thrown([&] { merge_models(o); });
}

}  // namespace

TEST_CASE("merge: both parts are there with their bits, and a merger drawn from the seed joins them (M-42, R-01)") {
  const Sources s;
  const auto model = merge_models(s.options());
  for (const auto& e : model->parameters().entries()) {
    const std::string& name = e.parameter.name;
    if (name.starts_with("model.visual.merger.")) continue;
    Onevision& from = name.starts_with("model.visual.") ? *s.tower : *s.language;
    CHECK_MESSAGE(same_bits(e.parameter.value, value(from, name)), name);
  }
  const Tensor w = value(*model, "model.visual.merger.mlp.0.weight");
  double square = 0;
  for (const float x : w.to_vector<float>()) square += static_cast<double>(x) * x;
  // 36 864 draws: the deviation of their root mean square is 0.4 %; 5 of them.
  CHECK(std::abs(std::sqrt(square / static_cast<double>(w.numel())) / 0.02 - 1) < 0.02);
  for (const float x : value(*model, "model.visual.merger.mlp.2.bias").to_vector<float>()) CHECK(x == 0);
  for (const float x : value(*model, "model.visual.merger.ln_q.weight").to_vector<float>()) CHECK(x == 1);

  MergeOptions other = s.options();
  CHECK(same_bits(value(*merge_models(other), "model.visual.merger.mlp.0.weight"), w));
  other.seed = 8;
  CHECK(!same_bits(value(*merge_models(other), "model.visual.merger.mlp.0.weight"), w));
  CHECK(same_bits(value(*merge_models(other), "model.visual.class_embedding"),
                  value(*s.tower, "model.visual.class_embedding")));
}

TEST_CASE("merge: the check passes only when bits, features and logits all agree (M-43, T-01, R-01)") {
  const Sources s;
  const MergeOptions o = s.options();
  const auto model = merge_models(o);
  const MergeCheck good = check_merge(*model, o, prompt);
  CHECK(good.passed());
  CHECK(good.tensors ==
        static_cast<std::int64_t>(model->parameters().entries().size()) - 7);  // six of the merger, the copied head

  // One bit of one weight, in either part.
  for (const char* name : {"model.visual.blocks.1.attn.qkv.bias", "model.language_model.norm.weight"}) {
    const auto broken = merge_models(o);
    reinterpret_cast<std::uint32_t*>(value(*broken, name).bytes())[2] ^= 1;
    const MergeCheck bad = check_merge(*broken, o, prompt);
    CHECK(bad.tensors_differ == 1);
    CHECK(bad.first_difference == name);
    CHECK(!bad.passed());
    CHECK(contains(bad.text(), name));
  }
  // The right weights in a model that computes otherwise: the tensors alone would not show it.
  const auto elsewhere = [&](auto change) {
    ModelConfig c = model->config();
    change(c);
    Onevision twin(c);
    twin.parameters().allocate(Dtype::f32, cpu());
    twin.parameters().values().copy_from(model->parameters().values());
    return check_merge(twin, o, prompt);
  };
  const MergeCheck eps = elsewhere([](ModelConfig& c) { c.vision.pre_norm_eps = 1e-2; });
  CHECK(eps.tensors_differ == 0);
  CHECK(eps.features_differ);
  CHECK(!eps.logits_differ);
  CHECK(!eps.passed());
  const MergeCheck theta = elsewhere([](ModelConfig& c) { c.text.rope_theta = 500; });
  CHECK(theta.tensors_differ == 0);
  CHECK(!theta.features_differ);
  CHECK(theta.logits_differ);
  CHECK(!theta.passed());
  CHECK(elsewhere([](ModelConfig&) {}).passed());
}

TEST_CASE(
    "merge: a head that was the embedding becomes a copy by default, stays tied on request, and config.json says which "
    "(M-12, R-01)") {
  const Sources s;
  MergeOptions o = s.options();
  const auto untied = merge_models(o);
  CHECK(!untied->config().text.tied);
  CHECK(same_bits(value(*untied, "lm_head.weight"), value(*s.language, "model.language_model.embed_tokens.weight")));
  CHECK(value(*untied, "lm_head.weight").bytes() != value(*untied, "model.language_model.embed_tokens.weight").bytes());
  o.tied = true;
  const auto tied = merge_models(o);
  CHECK(check_merge(*tied, o, prompt).passed());
  CHECK(value(*tied, "lm_head.weight").bytes() == value(*tied, "model.language_model.embed_tokens.weight").bytes());
  for (const auto& [model, is] : {std::pair{untied.get(), false}, {tied.get(), true}}) {
    const std::string out = s.dir / (is ? "tied" : "untied");
    make_directories(out);
    write_model(out, *model, {0}, 0);
    CHECK(Json::read(out + "/config.json").at("tie_word_embeddings").as_bool() == is);
    CHECK(CheckpointReader::open(out).has("lm_head.weight") == !is);
    MergeOptions again = s.options();
    again.tied = is;
    CHECK(check_merge(*load_model(out), again, prompt).passed());  // what was written is what was merged
  }

  const Sources apart(true);
  MergeOptions own = apart.options();
  const auto kept = merge_models(own);
  CHECK(same_bits(value(*kept, "lm_head.weight"), value(*apart.language, "lm_head.weight")));
  CHECK(check_merge(*kept, own, prompt).passed());
  own.tied = true;
  CHECK(contains(refusal(own), "lm_head.weight is not the embedding, so the head cannot be tied"));
  own.tied = false;  // but the source says that it is
  Json said = apart.qwen3_config();
  said.set("tie_word_embeddings", true);
  write_durably(apart.dir / "language/config.json", said.dump());
  CHECK(contains(refusal(own), "lm_head.weight is not the embedding, so the head cannot be tied"));
}

TEST_CASE(
    "merge: RICE-ViT's released names are read, q above k above v, and the layers that the model lacks dropped (M-40, "
    "M-41)") {
  const Sources s;
  const VisionConfig& v = s.tower->config().vision;
  const Json config = Json::object({{"model_type", "mlcd_vision_model"},
                                    {"num_hidden_layers", v.depth},
                                    {"hidden_size", v.hidden},
                                    {"num_attention_heads", v.heads},
                                    {"intermediate_size", v.intermediate},
                                    {"patch_size", v.patch},
                                    {"num_channels", v.channels},
                                    {"hidden_act", "gelu"},
                                    {"layer_norm_eps", v.pre_norm_eps}});
  write_part(s.dir / "mlcd", config, mlcd_tensors(*s.tower));
  MergeOptions o = s.options();
  o.tower = s.dir / "mlcd";
  const auto model = merge_models(o);
  CHECK(check_merge(*model, o, prompt).passed());
  CHECK(model->config().json().dump() == merge_models(s.options())->config().json().dump());
  CHECK(check_merge(*model, s.options(), prompt).passed());  // the same tower as under our names

  write_part(s.dir / "swapped", config, mlcd_tensors(*s.tower, {1, 0, 2}));
  o.tower = s.dir / "swapped";
  CHECK(!check_merge(*merge_models(o), s.options(), prompt).passed());

  auto lacking = mlcd_tensors(*s.tower);
  std::erase_if(lacking,
                [](const NamedTensor& t) { return t.name == "vision_model.encoder.layers.1.self_attn.k_proj.bias"; });
  write_part(s.dir / "lacking", config, lacking);
  o.tower = s.dir / "lacking";
  CHECK(contains(refusal(o), "tensor 'vision_model.encoder.layers.1.self_attn.k_proj.bias' is missing"));
}

TEST_CASE("merge: whole models serve as sources, bf16 is widened, and a part without a source is drawn") {
  const Sources s;
  make_directories(s.dir / "whole");
  write_model(s.dir / "whole", *s.language, {0}, 0);
  MergeOptions o = s.options();
  o.language = s.dir / "whole";
  CHECK(check_merge(*merge_models(o), s.options(), prompt).passed());

  write_part(s.dir / "half", s.qwen3_config(), tensors_of(*s.language, "model.language_model."),
             {.dtype = Dtype::bf16});
  o.language = s.dir / "half";
  const auto half = merge_models(o);
  CHECK(half->parameters().dtype() == Dtype::f32);
  CHECK(check_merge(*half, o, prompt).passed());
  CHECK(!check_merge(*half, s.options(), prompt).passed());  // rounded

  o = s.options();
  o.tower = "";
  const auto blind = merge_models(o);
  CHECK(check_merge(*blind, o, prompt).passed());
  CHECK(same_bits(value(*blind, "model.language_model.norm.weight"),
                  value(*s.language, "model.language_model.norm.weight")));
  CHECK(!same_bits(value(*blind, "model.visual.patch_embed.proj.weight"),
                   value(*s.tower, "model.visual.patch_embed.proj.weight")));
}

TEST_CASE(
    "merge: a source that is a whole model gives its other keys and its code's names, a lone language model none") {
  const Sources s;
  const auto whole = [&](const char* name, const Onevision& model, const char* key) {
    make_directories(s.dir / name);
    write_model(s.dir / name, model, {0}, 0);
    Json config = Json::read(s.dir / (std::string(name) + "/config.json"));
    Json vision = config.at("vision_config"), text = config.at("text_config");
    vision.set("made_up", key), text.set("made_up", key);
    config.set(key, true), config.set("auto_map", Json::object({{"AutoConfig", "a.B"}}));
    config.set("vision_config", vision), config.set("text_config", text);
    write_durably(s.dir / (std::string(name) + "/config.json"), config.dump());
    write_durably(s.dir / (std::string(name) + "/a.py"), key);
  };
  whole("one", *s.tower, "of_tower");
  whole("two", *s.language, "of_language");
  MergeOptions o = s.options();
  CHECK(!merged_config(o).json().find("auto_map"));
  o.tower = s.dir / "one", o.language = s.dir / "two";
  const Json merged = merged_config(o).json();
  CHECK(merged.at("of_tower").as_bool());
  CHECK(merged.at("of_language").as_bool());
  CHECK(merged.find("auto_map"));
  CHECK(merged.at("vision_config").at("made_up").as_string() == "of_tower");
  CHECK(merged.at("text_config").at("made_up").as_string() == "of_language");
}

TEST_CASE("merge: rotary base and width of heads are the source's class's, or what it says") {
  const Sources s;
  const auto with = [&](auto change) {
    Json c = Json::object();
    const Json said = s.qwen3_config();
    for (const auto& [key, value] : said.members())
      if (key != "rope_theta" && key != "rope_scaling") c.set(key, value);
    change(c);
    write_durably(s.dir / "language/config.json", c.dump());
    return merged_config(s.options()).text.rope_theta;
  };
  CHECK(with([](Json&) {}) == 10000);  // Qwen3Config's, not the 4B model's
  CHECK(with([](Json& c) {
          c.set("rope_parameters", Json::object({{"rope_theta", 1e6}, {"rope_type", "default"}}));
        }) == 1e6);
}

TEST_CASE("merge: what is missing, misshapen, left over or no source at all is refused with directory and name") {
  const Sources s;
  const MergeOptions good = s.options();
  const auto with_language = [&](const std::string& name, auto change, auto config) {
    auto tensors = tensors_of(*s.language, "model.language_model.");
    change(tensors);
    Json c = s.qwen3_config();
    config(c);
    write_part(s.dir / name, c, tensors);
    MergeOptions o = good;
    o.language = s.dir / name;
    return refusal(o);
  };
  const auto keep = [](auto&) {};
  std::string said = with_language(
      "missing",
      [](auto& t) { std::erase_if(t, [](const NamedTensor& n) { return n.name.ends_with("1.mlp.up_proj.weight"); }); },
      keep);
  CHECK(contains(said, s.dir / "missing"));
  CHECK(contains(said, "tensor 'model.language_model.layers.1.mlp.up_proj.weight' of the language model is missing"));
  said = with_language("shape", keep, [](Json& c) { c.set("hidden_size", 48); });
  CHECK(contains(said,
                 "tensor 'model.language_model.embed_tokens.weight' of the language model: its config.json asks for "
                 "shape"));
  said = with_language("extra", keep, [](Json& c) { c.set("num_hidden_layers", 1); });
  CHECK(contains(said, "'model.language_model.layers.1."));
  CHECK(contains(said, "is not part of the language model that its config.json describes"));
  said = with_language("moe", keep, [](Json& c) { c.set("num_experts", 8); });
  CHECK(contains(said, "num_experts"));
  said = with_language(
      "integers", [](auto& t) { t[0].tensor = t[0].tensor.to(Dtype::i32); }, keep);
  CHECK(contains(said, "holds i32, expected floating-point numbers"));
  const auto spoil = [](auto& t) {
    (t.back().tensor = t.back().tensor.contiguous_copy()).template data<float>()[0] = NAN;
  };
  MergeOptions nan = good;
  CHECK(with_language("nan", spoil, keep).empty());  // until it is asked something
  nan.language = s.dir / "nan";
  CHECK_THROWS_WITH_AS(check_merge(*merge_models(nan), nan, prompt),
                       doctest::Contains("nan: its logits of a text are not finite"), Error);
  said = with_language("heads", keep, [](Json& c) { c.set("num_key_value_heads", 3); });
  CHECK(contains(said, "cannot share"));

  MergeOptions o = good;
  o.tower = s.dir / "language";
  CHECK(contains(refusal(o), "describes no tower"));
  o = good;
  o.language = s.dir / "tower";
  CHECK(contains(refusal(o), "describes no language model"));
  o = good;
  o.tower = s.dir / "nowhere";
  CHECK(contains(refusal(o), "nowhere/config.json"));
  // The tower's width in config.json and in the weights.
  Json vision = s.tower->config().json().at("vision_config");
  vision.set("hidden_size", 96), vision.set("embed_dim", 96);
  std::vector<NamedTensor> tensors;
  for (const NamedTensor& t : tensors_of(*s.tower, "model.visual."))
    if (!t.name.starts_with("model.visual.merger.")) tensors.push_back(t);
  write_part(s.dir / "wide", Json::object({{"vision_config", vision}}), tensors);
  o = good;
  o.tower = s.dir / "wide";
  CHECK(contains(refusal(o), "of the tower: its config.json asks for shape"));
}
