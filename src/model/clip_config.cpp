#include "model/clip_config.h"

#include "base/json_section.h"
#include "model/config.h"

namespace ov {
namespace {

void read_tower(JsonSection& s, ClipTowerConfig& t) {
  t.layers = s.integer("num_hidden_layers", t.layers);
  t.hidden = s.integer("hidden_size", t.hidden);
  t.heads = s.integer("num_attention_heads", t.heads);
  t.intermediate = s.integer("intermediate_size", t.intermediate);
  t.norm_eps = s.number("layer_norm_eps", t.norm_eps);
  const std::string act = s.text("hidden_act");
  if (act == "gelu" || act == "gelu_python") t.act = kernels::GeluForm::exact;
  else if (!act.empty() && act != "quick_gelu")
    input_error(s.where(), ": hidden_act is \"", act, "\"; only \"quick_gelu\" and \"gelu\" are built");
}

// Which member of config.json describes a tower.
std::string part_of(const Json& config, const char* name) {
  const Json* older = config.is_object() ? config.find(cat(name, "_dict")) : nullptr;
  return older && !older->is_null() ? cat(name, "_dict") : name;
}

Json tower_json(const ClipTowerConfig& t, const char* type, std::int64_t projection) {
  return Json::object({{"model_type", type},
                       {"num_hidden_layers", t.layers},
                       {"hidden_size", t.hidden},
                       {"num_attention_heads", t.heads},
                       {"intermediate_size", t.intermediate},
                       {"hidden_act", t.act == kernels::GeluForm::exact ? "gelu" : "quick_gelu"},
                       {"layer_norm_eps", t.norm_eps},
                       {"attention_dropout", 0.0},
                       {"projection_dim", projection}});
}

// `out` with every member that only `from` has, but for types that it no longer has and parts that are written anew.
void carry(Json& out, const Json* from) {
  if (!from || !from->is_object()) return;
  for (const auto& [key, value] : from->members())
    if (!out.find(key) && key != "dtype" && key != "torch_dtype" && !key.ends_with("_config_dict")) out.set(key, value);
}

}  // namespace

ClipConfig ClipConfig::read(const Json& json, const std::string& where) {
  JsonSection top(json, where);
  top.only("model_type", {"clip"});
  ClipConfig c;
  c.source = json;
  c.projection = top.integer("projection_dim", c.projection);
  c.logit_scale = top.number("logit_scale_init_value", c.logit_scale);

  static const Json defaults = Json::object();
  const auto part = [&](const char* name) {
    const std::string key = part_of(json, name);
    top.find(name), top.find(cat(name, "_dict").c_str());
    const Json* found = top.find(key.c_str());
    return JsonSection(found ? *found : defaults, cat(where, ": ", key));
  };
  JsonSection text = part("text_config"), vision = part("vision_config");
  read_tower(text, c.text);
  c.vocabulary = text.integer("vocab_size", c.vocabulary);
  c.max_positions = text.integer("max_position_embeddings", c.max_positions);
  c.eos = text.integer("eos_token_id", c.eos);
  read_tower(vision, c.vision);
  c.image = vision.integer("image_size", c.image);
  c.patch = vision.integer("patch_size", c.patch);
  c.channels = vision.integer("num_channels", c.channels);
  c.check(where + ": ");
  for (const JsonSection* s : {&top, &text, &vision}) s->finish(config_bookkeeping(), config_arithmetic());
  return c;
}

void ClipConfig::check(const std::string& where) const {
  // Upper ends far beyond any model, so that products of them stay within 64 bits.
  const auto bound = [&](const char* what, std::int64_t value, std::int64_t most) {
    if (value < 1 || value > most) input_error(where, what, " is ", value, ", expected 1 to ", most);
  };
  for (const auto& [name, t] : {std::pair{"vision", &vision}, std::pair{"text", &text}}) {
    bound(cat(name, ": number of layers").c_str(), t->layers, 1 << 12);
    bound(cat(name, ": width").c_str(), t->hidden, 1 << 20);
    bound(cat(name, ": number of heads").c_str(), t->heads, 1 << 16);
    bound(cat(name, ": width of the MLP").c_str(), t->intermediate, 1 << 20);
    if (t->hidden % t->heads != 0)
      input_error(where, name, ": a width of ", t->hidden, " cannot be cut into ", t->heads, " heads");
    if (!(t->norm_eps > 0 && t->norm_eps <= 1))
      input_error(where, name, ": layer_norm_eps is ", t->norm_eps, ", expected more than 0 and at most 1");
  }
  bound("image size", image, 1 << 16);
  bound("patch size", patch, image);
  bound("number of channels", channels, 1 << 10);
  bound("vocabulary", vocabulary, std::int64_t{1} << 31);
  bound("number of positions", max_positions, std::int64_t{1} << 31);
  bound("projection width", projection, 1 << 20);
}

Json ClipConfig::json() const {
  Json t = tower_json(text, "clip_text_model", projection), v = tower_json(vision, "clip_vision_model", projection);
  t.set("vocab_size", vocabulary), t.set("max_position_embeddings", max_positions), t.set("eos_token_id", eos);
  v.set("image_size", image), v.set("patch_size", patch), v.set("num_channels", channels);
  if (source.is_object()) {
    carry(t, source.find(part_of(source, "text_config")));
    carry(v, source.find(part_of(source, "vision_config")));
  } else {
    t.set("bos_token_id", eos), t.set("pad_token_id", eos);  // the class's are those of OpenAI's tokenizer
  }
  Json out = Json::object({{"architectures", std::vector<std::string>{"CLIPModel"}},
                           {"model_type", "clip"},
                           {"projection_dim", projection},
                           {"logit_scale_init_value", logit_scale},
                           {"text_config", t},
                           {"vision_config", v}});
  carry(out, &source);
  return out;
}

}  // namespace ov
