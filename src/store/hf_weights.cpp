#include "store/hf_weights.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/io/file.h"
#include "base/json.h"
#include "base/text.h"
#include "store/hf_names.h"

namespace ov {
namespace {

const std::string single_file = "model.safetensors", index_file = "model.safetensors.index.json";

// model-00001-of-00003.safetensors. Other files are the model's when its index names them, and else not its matter.
bool is_shard(const std::string& name) {
  constexpr std::string_view form = "model-ddddd-of-ddddd.safetensors";
  return std::equal(name.begin(), name.end(), form.begin(), form.end(),
                    [](char c, char f) { return f == 'd' ? c == 'd' || (c >= '0' && c <= '9') : c == f; });
}

std::vector<std::string> weight_files(const std::string& directory) {
  std::vector<std::string> files;
  for (const std::string& name : list_directory(directory))
    if (name == index_file || name == single_file || is_shard(name)) files.push_back(name);
  return files;
}

// What other programs save, and how it becomes a directory that is read here.
void refuse_foreign(const std::string& directory) {
  for (const std::string& name : list_directory(directory)) {
    if (name == "latest_checkpointed_iteration.txt" || name.starts_with("mp_rank_") || name.starts_with("iter_"))
      input_error(directory, "/", name,
                  ": a Megatron (mcore) checkpoint; convert it to Hugging Face's layout with the "
                  "original's tools/convert_checkpoint");
    if (name.ends_with(".distcp"))
      input_error(directory, "/", name,
                  ": a distributed PyTorch checkpoint; consolidate it first (NeMo AutoModel: "
                  "save_consolidated, and give its directory consolidated/)");
    if (name.starts_with("pytorch_model") && name.ends_with(".bin"))
      input_error(directory, "/", name,
                  ": pickled PyTorch weights, which can run code when they are read; save the "
                  "model as safetensors");
    if (name == "adapter_model.safetensors")
      input_error(directory, ": holds a LoRA adapter, no model; give the model's directory and this one as --adapter");
  }
}

// Tensor on disk -> shard, from the index, checked for its form.
std::map<std::string, std::string> read_index(const std::string& path) {
  const Json index = Json::read(path);
  std::map<std::string, std::string> shard_of;
  try {
    for (const auto& [name, shard] : index.at("weight_map").members()) {
      if (shard.as_string().find('/') != std::string::npos)
        input_error("tensor '", name, "': shard '", shard.as_string(), "' is not a plain file name");
      shard_of[name] = shard.as_string();
    }
  } catch (const Error& e) { input_error(path, ": weight_map: ", e.what()); }
  if (shard_of.empty()) input_error(path, ": weight_map names no tensor");
  return shard_of;
}

bool floating(Dtype d) { return d == Dtype::f64 || d == Dtype::f32 || d == Dtype::bf16; }

}  // namespace

CheckpointReader CheckpointReader::open(const std::string& directory) {
  CheckpointReader reader;
  reader.path_ = directory;
  const std::vector<std::string> files = weight_files(directory);
  if (path_exists(directory + "/" + SavedParts::index_file)) {
    if (!files.empty())
      input_error(directory, ": holds ", files[0], " and ", SavedParts::index_file,
                  "; which of them is the model cannot be told");
    reader.add_parts(SavedParts::open(directory));
    return reader;
  }
  const auto there = [&](const std::string& file) { return std::count(files.begin(), files.end(), file) != 0; };
  const auto first_shard = std::find_if(files.begin(), files.end(), is_shard);
  const bool indexed = there(index_file);
  if (!there(single_file) && !indexed) {
    refuse_foreign(directory);
    input_error(directory, first_shard == files.end()
                               ? ": holds no weights, expected " + single_file + " or " + index_file
                               : ": holds shards such as " + *first_shard + " but no " + index_file);
  }
  if (there(single_file) && first_shard != files.end())
    input_error(directory, ": holds ", single_file, " and ", *first_shard,
                "; which of them is the model cannot be told");
  if (!indexed) {
    reader.add_shard(single_file);
    return reader;
  }

  const auto shard_of = read_index(directory + "/" + index_file);
  std::set<std::string> shards;
  for (const auto& [name, shard] : shard_of) shards.insert(shard);
  // Transformers takes the single file, whatever the index says: that is the same model when the index names it alone.
  if (there(single_file) && shards != std::set{single_file})
    input_error(directory, ": holds ", single_file, " and an index of other files, ", index_file, " (",
                shard_of.begin()->second, "); remove the one that is not the model");
  for (const std::string& file : files)
    if (is_shard(file) && !shards.count(file))
      input_error(directory, "/", file, ": a shard that ", index_file, " does not name");
  for (const std::string& shard : shards) {
    if (!path_exists(directory + "/" + shard))
      input_error(directory, "/", shard, ": the shard is missing; ", index_file, " names it");
    reader.add_shard(shard);
    for (const SafetensorsEntry& e : reader.shards_.back().entries()) {
      const auto said = shard_of.find(e.name);
      if (said == shard_of.end())
        input_error(directory, "/", shard, ": tensor '", e.name, "' is not named in ", index_file);
      if (said->second != shard)
        input_error(directory, "/", shard, ": tensor '", e.name, "' is here, ", index_file, " says ", said->second);
    }
  }
  std::set<std::string> present;
  for (const Safetensors& shard : reader.shards_)
    for (const SafetensorsEntry& e : shard.entries()) present.insert(e.name);
  for (const auto& [name, shard] : shard_of)
    if (!present.count(name))
      input_error(directory, "/", shard, ": tensor '", name, "' is missing; ", index_file, " names it");
  return reader;
}

void CheckpointReader::add(const SafetensorsEntry& e, const Shape& shape, std::size_t shard) {
  const std::string name = name_in_memory(e.name), &file = shards_[shard].path();
  if (name.empty()) return;
  if (name.find(".linear_qkv.") != std::string::npos || name.find("word_embeddings.weight") != std::string::npos)
    input_error(file, ": tensor '", e.name,
                "' has a Megatron (mcore) name; convert the checkpoint "
                "to Hugging Face's layout with the original's tools/convert_checkpoint");
  if (const auto [it, fresh] = index_.emplace(name, entries_.size()); !fresh)
    input_error(file, ": tensor '", e.name, "' is the same parameter as '", entries_[it->second].on_disk, "'");
  const std::int64_t stored = e.shape.numel(), bytes = static_cast<std::int64_t>(e.end - e.begin);
  entries_.push_back({name, e.name, e.dtype, shape, shard, stored == 0 ? 0 : bytes / stored * shape.numel()});
}

void CheckpointReader::add_shard(const std::string& file) {
  shards_.push_back(Safetensors::open(path_ + "/" + file));
  for (const SafetensorsEntry& e : shards_.back().entries()) add(e, e.shape, shards_.size() - 1);
}

void CheckpointReader::add_parts(SavedParts saved) {
  shards_ = saved.files();
  for (const SavedParts::Entry& e : saved.index().tensors) {
    if (e.pieces.empty()) input_error(saved.path(), ": tensor '", e.name, "': in no part");
    const auto part = static_cast<std::size_t>(e.pieces[0].part);
    add(*shards_[part].find(e.name), e.shape, part);
  }
  parts_ = std::move(saved);
}

Tensor CheckpointReader::tensor(const std::string& name) const {
  const auto it = index_.find(name);
  if (it == index_.end()) {
    std::vector<std::string> names;
    for (const Entry& e : entries_) names.push_back(e.name);
    input_error(path_, ": tensor '", name, "' is missing", did_you_mean(name, names));
  }
  const Entry& e = entries_[it->second];
  return parts_ ? parts_->tensor(e.on_disk) : shards_[e.shard].tensor(e.on_disk);
}

std::vector<std::string> CheckpointReader::name_faults(const std::vector<NamedShape>& expected) const {
  constexpr std::size_t guesses = 16;  // a near name costs a pass over all names; a wholly different model needs none
  std::set<std::string> wanted;
  std::vector<std::string> missing, extra, faults;
  for (const NamedShape& p : expected) wanted.insert(p.name);
  for (const NamedShape& p : expected)
    if (!has(p.name)) missing.push_back(p.name);
  for (const Entry& e : entries_)
    if (!wanted.count(e.name)) extra.push_back(e.name);

  const auto near = [&](const std::string& name, const std::vector<std::string>& names) {
    return faults.size() < guesses ? did_you_mean(name, names) : "";
  };
  for (const std::string& name : missing)
    faults.push_back(cat(path_, ": tensor '", name, "' is missing", near(name, extra)));
  for (const NamedShape& p : expected) {
    if (!has(p.name)) continue;
    const Entry& e = entries_[index_.at(p.name)];
    if (e.shape != p.shape)
      faults.push_back(cat(shards_[e.shard].path(), ": tensor '", e.on_disk, "': expected shape ", p.shape.str(),
                           ", found ", e.shape.str()));
  }
  for (const std::string& name : extra) {
    const Entry& e = entries_[index_.at(name)];
    faults.push_back(
        cat(shards_[e.shard].path(), ": tensor '", e.on_disk, "' is not part of this model", near(name, missing)));
  }
  return faults;
}

void CheckpointReader::check_names(const std::vector<NamedShape>& expected) const {
  const auto faults = name_faults(expected);
  if (faults.empty()) return;
  const std::string more = faults.size() > 1 ? cat(" (and ", faults.size() - 1, " more like it)") : "";
  input_error(faults[0], more);
}

std::vector<std::string> write_checkpoint(const std::string& directory, const std::vector<NamedTensor>& tensors,
                                          const CheckpointOptions& options) {
  std::vector<TensorInfo> infos;
  for (const NamedTensor& t : tensors) infos.push_back({t.name, t.tensor.dtype(), t.tensor.shape()});
  return write_checkpoint(
      directory, infos, [&](std::size_t i) { return tensors[i].tensor; }, options);
}

std::vector<std::string> write_checkpoint(const std::string& directory, const std::vector<TensorInfo>& tensors,
                                          const std::function<Tensor(std::size_t)>& tensor,
                                          const CheckpointOptions& options) {
  if (const auto files = weight_files(directory); !files.empty())
    input_error(directory, ": already holds ", files[0], "; save into a new directory");

  // Shards are filled in order, as transformers fills them.
  struct Shard {
    std::vector<TensorInfo> infos;
    std::size_t first = 0;
    std::int64_t bytes = 0;
  };
  std::vector<Shard> shards(1);
  std::int64_t total = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& t = tensors[i];
    const Dtype dtype = options.dtype && floating(t.dtype) ? *options.dtype : t.dtype;
    const std::int64_t bytes = t.shape.numel() * static_cast<std::int64_t>(size_of(dtype));
    if (shards.back().bytes + bytes > options.max_shard_bytes && shards.back().bytes > 0) shards.push_back({{}, i});
    shards.back().infos.push_back({name_on_disk(t.name), dtype, t.shape});
    shards.back().bytes += bytes;
    total += bytes;
  }

  std::vector<std::string> written;
  std::map<std::string, std::string> weight_map;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string file =
        shards.size() == 1 ? single_file : numbered_file("model", static_cast<std::int64_t>(i), std::ssize(shards));
    SafetensorsWriter writer(directory + "/" + file, shards[i].infos, {{"format", "pt"}});
    for (std::size_t k = 0; k < shards[i].infos.size(); ++k) {
      const Tensor t = tensor(shards[i].first + k);
      const Dtype dtype = shards[i].infos[k].dtype;
      writer.write(t.dtype() == dtype ? t : t.to(dtype, Segment::workspace));
      weight_map[shards[i].infos[k].name] = file;
    }
    writer.commit();
    written.push_back(file);
  }
  if (shards.size() == 1) return written;

  std::vector<Json::Member> map(weight_map.begin(), weight_map.end());
  const Json index =
      Json::object({{"metadata", Json::object({{"total_size", total}})}, {"weight_map", Json::object(std::move(map))}});
  write_durably(directory + "/" + index_file, index.dump(2) + "\n");
  written.push_back(index_file);
  return written;
}

}  // namespace ov
