#include "model/files/merge_sources.h"

#include <set>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "model/files/hf_directory.h"
#include "store/hf_names.h"

namespace ov {
namespace {

bool of_tower(const std::string& name) {
  return name.starts_with("model.visual.") && !name.starts_with("model.visual.merger.");
}
bool of_language(const std::string& name) { return name.starts_with("model.language_model.") || name == head_name; }

// The renaming of RICE-ViT's released file (MLCD's names), in this order.
std::string from_mlcd(std::string name) {
  constexpr std::pair<std::string_view, std::string_view> rules[] = {
      {"vision_model.", "model.visual."},
      {"model.visual.embeddings.", "model.visual."},
      {"model.visual.patch_embedding.", "model.visual.patch_embed.proj."},
      {"model.visual.encoder.layers.", "model.visual.blocks."},
      {"model.visual.pre_layrnorm", "model.visual.pre_layernorm"},  // spelt so in the file
      {".layer_norm", ".norm"},
      {".self_attn.out_proj.", ".attn.proj."},
  };
  for (const auto& [from, to] : rules)
    if (const auto at = name.find(from); at != name.npos) name.replace(at, from.size(), to);
  return name;
}

// `config` itself, or its member `key` where it has one.
Json part_of(const Json& config, const char* key) {
  const Json* part = config.find(key);
  return part && part->is_object() ? *part : config;
}

}  // namespace

const MergePart tower_part{of_tower, "tower"}, language_part{of_language, "language model"};

MergeSource MergeSource::tower(const std::string& directory) {
  MergeSource source(directory, tower_part);
  source.read_own_names();
  if (source.tensors_.empty()) source.read_mlcd_names();
  if (source.tensors_.empty())
    input_error(directory, ": holds no tower: no tensor is called visual.* or vision_model.*");
  return source;
}

MergeSource MergeSource::language(const std::string& directory) {
  MergeSource source(directory, language_part);
  source.read_own_names();
  if (source.tensors_.empty()) input_error(directory, ": holds no language model: no tensor is called model.*");
  if (source.has(head_name) && read_language_source_config(directory).tied) source.expect_tied_head();
  return source;
}

void MergeSource::read_own_names() {
  for (const auto& e : file_.entries())
    if (part_->has(e.name)) tensors_[e.name] = {{e.name}, e.shape, e.dtype};
}

void MergeSource::read_mlcd_names() {
  std::map<std::string, const CheckpointReader::Entry*> entries;
  for (const auto& e : file_.entries()) entries[e.name] = &e;
  for (const auto& e : file_.entries()) {
    if (!e.name.starts_with("vision_model.") || e.name.starts_with("vision_model.post_layernorm.")) continue;
    const std::string name = from_mlcd(e.name);
    const auto at = name.find(".self_attn.");
    if (at == name.npos) {
      tensors_[name] = {{e.name}, e.shape, e.dtype};
      continue;
    }
    const std::string projection = name.substr(at + 11);  // "q_proj.weight"
    if (!projection.starts_with("q_proj.") && !projection.starts_with("k_proj.") && !projection.starts_with("v_proj."))
      input_error(file_.path(), ": tensor '", e.on_disk, "' is not part of a tower");
    const std::string kind = projection.substr(7), before = e.name.substr(0, e.name.find(".self_attn.") + 11);
    Stored fused{{}, e.shape, e.dtype};
    for (const char* part : {"q_proj.", "k_proj.", "v_proj."}) {
      const std::string from = before + part + kind;
      const auto found = entries.find(from);
      if (found == entries.end()) file_.tensor(from);  // names what is missing
      if (found->second->shape != e.shape || found->second->dtype != e.dtype)
        input_error(file_.path(), ": tensors '", before, "{q,k,v}_proj.", kind,
                    "' differ in shape or type; they become one product");
      fused.names.push_back(from);
    }
    fused.shape[0] *= 3;
    tensors_[name.substr(0, at) + ".attn.qkv." + kind] = fused;
  }
}

Tensor MergeSource::tensor(const std::string& name) const {
  const auto found = tensors_.find(name == head_name && !has(head_name) ? table_name : name);
  if (found == tensors_.end()) return file_.tensor(name);  // refuses it
  const Stored& stored = found->second;
  const Tensor first = file_.tensor(stored.names[0]);
  check_weight(directory_, found->first, first.dtype());
  if (stored.names.size() == 1) return first;
  const Tensor out(stored.shape, first.dtype(), cpu(), Segment::weights);
  for (std::size_t i = 0; i < stored.names.size(); ++i) {
    const auto begin = static_cast<std::int64_t>(i) * first.dim(0);
    out.slice(0, begin, begin + first.dim(0)).copy_from(file_.tensor(stored.names[i]));
  }
  return out;
}

void MergeSource::expect_tied_head() const {
  if (!has(table_name)) return;  // check() names it
  if (!equal_bits(tensor(head_name), tensor(table_name)))
    input_error(directory_, ": lm_head.weight is not the embedding, so the head cannot be tied to it");
}

void MergeSource::check(const Parameters& parameters) const {
  std::vector<std::string> names;
  std::set<std::string> rest;
  for (const auto& [name, stored] : tensors_) names.push_back(name), rest.insert(name);
  for (const auto& e : parameters.entries()) {
    const std::string& name = e.parameter.name;
    if (!part_->has(name)) continue;
    const std::string& from = name == head_name && !has(head_name) ? table_name : name;
    const auto found = tensors_.find(from);
    if (found == tensors_.end())
      input_error(directory_, ": tensor '", from, "' of the ", part_->name, " is missing", did_you_mean(from, names));
    if (found->second.shape != e.shape)
      input_error(directory_, ": tensor '", from, "' of the ", part_->name, ": its config.json asks for shape ",
                  e.shape.str(), ", found ", found->second.shape.str());
    rest.erase(name);
  }
  // A tied model has no place for a head, which then must be the embedding.
  if (rest.erase(head_name)) expect_tied_head();
  if (!rest.empty())
    input_error(directory_, ": tensor '", *rest.begin(), "' is not part of the ", part_->name,
                " that its config.json describes");
}

VisionConfig read_tower_source_config(const std::string& directory, std::int64_t merge) {
  const Json config = read_config_json(directory);
  Json vision = part_of(config, "vision_config");
  const auto has = [&](const char* ours, const char* mlcds) { return vision.find(ours) || vision.find(mlcds); };
  if (!has("depth", "num_hidden_layers") || !has("num_heads", "num_attention_heads") || vision.find("vocab_size"))
    input_error(directory,
                "/config.json: describes no tower: expected depth and num_heads, or num_hidden_layers and "
                "num_attention_heads, and no vocab_size");
  if (!vision.find("spatial_merge_size")) vision.set("spatial_merge_size", merge);
  return read_vision_config(vision,
                            directory + "/config.json" + (config.find("vision_config") ? ": vision_config" : ""));
}

TextConfig read_language_source_config(const std::string& directory) {
  const Json config = read_config_json(directory), text = part_of(config, "text_config");
  if (!text.find("vocab_size") || !text.find("num_hidden_layers"))
    input_error(directory, "/config.json: describes no language model: vocab_size and num_hidden_layers are missing");
  return read_text_config(config, directory + "/config.json");
}

Json merged_source_config(const std::string& tower, const std::string& language) {
  Json out = Json::object();
  for (const auto& [directory, part] : {std::pair{tower, "vision_config"}, std::pair{language, "text_config"}}) {
    if (!is_whole_model(directory)) continue;
    const Json config = read_config_json(directory);
    for (const auto& [key, value] : config.members())
      if (key == part || (key != "vision_config" && key != "text_config")) out.set(key, value);
  }
  return out;
}

}  // namespace ov
