// A model as keys describe it: each key beside its member, to read it and to compare it with a model that exists.
#include "cli/verbs.h"

namespace ov::cli {
namespace {

template <class Config, class F>
void each_of_vision(Config& v, F&& f) {
  f("vision.depth", v.depth);
  f("vision.hidden", v.hidden);
  f("vision.heads", v.heads);
  f("vision.intermediate", v.intermediate);
  f("vision.patch", v.patch);
  f("vision.merge", v.merge);
}

template <class Config, class F>
void each_of_text(Config& t, F&& f) {
  f("text.vocabulary", t.vocabulary);
  f("text.hidden", t.hidden);
  f("text.intermediate", t.intermediate);
  f("text.layers", t.layers);
  f("text.heads", t.heads);
  f("text.kv_heads", t.kv_heads);
  f("text.head_dim", t.head_dim);
  f("text.max_positions", t.max_positions);
  f("text.rope_theta", t.rope_theta);
  f("text.norm_eps", t.norm_eps);
  f("text.qkv_bias", t.qkv_bias);
  f("text.qk_norm", t.qk_norm);
  f("text.tied", t.tied);
  f("text.experts", t.experts);
  f("text.experts_per_token", t.experts_per_token);
  f("text.expert_intermediate", t.expert_intermediate);
  f("text.sparse_step", t.sparse_step);
  f("text.mlp_only_layers", t.mlp_only_layers);
  f("text.norm_topk_prob", t.norm_topk_prob);
  f("text.router_aux_loss_coef", t.router_aux_loss_coef);
}

template <class Config, class F>
void each_of_clip(Config& c, F&& f) {
  f("vision.depth", c.vision.layers);
  f("vision.hidden", c.vision.hidden);
  f("vision.heads", c.vision.heads);
  f("vision.intermediate", c.vision.intermediate);
  f("vision.patch", c.patch);
  f("text.layers", c.text.layers);
  f("text.hidden", c.text.hidden);
  f("text.heads", c.text.heads);
  f("text.intermediate", c.text.intermediate);
  f("text.vocabulary", c.vocabulary);
  f("text.max_positions", c.max_positions);
  f("clip.image", c.image);
  f("clip.projection", c.projection);
}

using Layers = std::vector<std::int64_t>;

struct Read {
  const Config& config;
  void operator()(const char* key, std::int64_t& value) const { value = config.integer(key); }
  void operator()(const char* key, double& value) const { value = config.number(key); }
  void operator()(const char* key, bool& value) const { value = config.flag(key); }
  void operator()(const char* key, Layers& value) const {
    for (const std::string& layer : config.list(key)) value.push_back(Json::parse(layer, key).as_int());
  }
};

// Names what files say otherwise.
struct Compare {
  const Config& config;
  std::string files = {}, otherwise = {};

  void operator()(const char* key, const Layers& value) {
    Strings layers;
    for (const std::int64_t layer : value) layers.push_back(std::to_string(layer));
    compare(key, layers);
  }
  template <class T>
  void operator()(const char* key, const T& value) {
    compare(key, value);
  }
  void compare(const char* key, const Value& own) {
    for (const Config::Filed& said : config.in_files(key)) {
      if (said.value == own || (said.key == "text.vocabulary" && said.value == Value(std::int64_t{0}))) continue;
      otherwise += cat(otherwise.empty() ? "" : ", ", key, " ", to_text(said.value), ", there ", to_text(own));
      if (files.find(said.file) == files.npos) files += cat(files.empty() ? "" : ", ", said.file);
    }
  }
  void refuse(const std::string& directory) const {
    if (!otherwise.empty())
      input_error(files, ": describes another model than ", directory, " holds: ", otherwise,
                  "; leave out one of them");
  }
};

}  // namespace

VisionConfig described_vision(const Config& config) {
  VisionConfig vision;
  each_of_vision(vision, Read{config});
  return vision;
}

TextConfig described_text(const Config& config) {
  TextConfig text;
  each_of_text(text, Read{config});
  return text;
}

ClipConfig described_clip(const Config& config) {
  ClipConfig c;
  each_of_clip(c, Read{config});
  c.vision.act = c.text.act = config.text("clip.act") == "gelu" ? kernels::GeluForm::exact : kernels::GeluForm::quick;
  return c;
}

void refuse_otherwise(const Config& config, const VisionConfig& own, const std::string& directory) {
  Compare compare{config};
  each_of_vision(own, compare);
  compare.refuse(directory);
}

void refuse_otherwise(const Config& config, const TextConfig& own, const std::string& directory) {
  Compare compare{config};
  each_of_text(own, compare);
  compare.refuse(directory);
}

void refuse_otherwise(const Config& config, const ClipConfig& own, const std::string& directory) {
  Compare compare{config};
  each_of_clip(own, compare);
  compare.refuse(directory);
}

void refuse_otherwise(const Config& config, const ModelConfig& own, const std::string& directory) {
  if (own.has_tower) refuse_otherwise(config, own.vision, directory);
  refuse_otherwise(config, own.text, directory);
}

}  // namespace ov::cli
