#include "audit/inspect.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <sstream>

#include "base/io/file.h"
#include "base/parallel.h"
#include "base/sha256.h"
#include "base/text.h"
#include "data/raw/webdataset.h"
#include "data/raw/webdataset_sample.h"
#include "data/sample/processor.h"
#include "image/decode.h"
#include "model/files/clip_directory.h"
#include "model/files/merge_sources.h"
#include "store/energon.h"
#include "store/jsonl.h"
#include "store/parquet/rows.h"
#include "text/tokenizer.h"
#include "train/stages/model_directory.h"

namespace ov {

std::int64_t inspect_tokens(const std::string& tokenizer_directory, const std::string& in, const std::string& out) {
  const Tokenizer tokenizer = Tokenizer::read(tokenizer_directory);
  JsonlReader lines(in);
  DurableWriter file(out);
  std::int64_t count = 0;
  for (Json line; lines.next(&line); ++count) {
    const Json* text = line.find("text");
    if (!text || !text->is_string())
      input_error(in, ":", lines.line(), ": expected an object with a string \"text\", got ", line.shown());
    file.write(Json::object({{"ids", tokenizer.encode(text->as_string())}}).dump() + "\n");
  }
  file.commit();
  return count;
}

Patches inspect_image(const std::string& file, const ProcessorConfig& config, const std::string& out) {
  check_limits(config, "");
  const Patches patches = named_patches(read_image(file), config, file);
  const std::vector<std::int64_t> grid(patches.grid.begin(), patches.grid.end());
  write_safetensors(out, {{"pixel_values", patches.pixel_values}, {"image_grid_thw", Tensor::of(grid, {1, 3})}});
  return patches;
}

namespace {

std::string digest(std::string_view bytes) {
  return cat("{\"len\":", bytes.size(), ",\"sha256\":\"", sha256(bytes), "\"}");
}

}  // namespace

std::int64_t inspect_parquet(const std::string& file, const std::string& out) {
  const ParquetFile in(file);
  DurableWriter lines(out);
  const std::size_t groups = in.groups().size(), at_once = static_cast<std::size_t>(threads());
  for (std::size_t first = 0; first < groups; first += at_once) {
    std::vector<std::string> texts(std::min(at_once, groups - first));
    parallel_for(static_cast<std::int64_t>(texts.size()), [&](std::int64_t i) {
      const std::size_t group = first + static_cast<std::size_t>(i);
      std::string& text = texts[static_cast<std::size_t>(i)];
      const ParquetRows rows(in, group);
      for (std::int64_t row = 0; row < in.groups()[group].rows; ++row) {
        rows.append_json(
            row, [](std::string_view bytes, std::string* to) { *to += digest(bytes); }, &text);
        text += '\n';
      }
    });
    for (const std::string& text : texts) lines.write(text);
  }
  lines.commit();
  return in.rows();
}

namespace {

// Appends a line for each sample of a shard; returns the bytes where each begins, then where the last one ends.
std::vector<std::uint64_t> list_samples(const std::string& path, const std::string& shard, std::string* out) {
  TarReader tar(unpacked_tar(MappedFile::open(path)));
  std::vector<std::uint64_t> borders;
  std::string key, parts;
  std::set<std::string> seen;
  std::uint64_t end = 0;
  const auto finish = [&] {
    if (!seen.empty())
      *out += cat("{\"key\":", Json(key).dump(), ",\"shard\":", Json(shard).dump(), ",\"parts\":{", parts, "}}\n");
    seen.clear();
    parts.clear();
  };
  for (TarMember m; next_part(tar, &m); end = m.end) {
    if (seen.empty() || webdataset_key(m.name) != key) {
      finish();
      key = webdataset_key(m.name);
      borders.push_back(m.begin);
    }
    const std::string part = part_of(m.name);
    if (!seen.insert(part).second) input_error(path, ": '", shown(m.name), "' occurs twice in its sample");
    if (part == "__key__" || part == "__url__")
      input_error(path, ": '", shown(m.name), "' has the name of a field that webdataset adds itself");
    parts += cat(parts.empty() ? "" : ",", Json(part).dump(), ":", digest(m.data));
  }
  finish();
  borders.push_back(end);
  return borders;
}

}  // namespace

std::int64_t inspect_webdataset(const std::string& path, const std::string& out) {
  namespace fs = std::filesystem;
  std::error_code missing;
  const bool directory = fs::is_directory(path, missing);
  std::vector<std::string> shards;
  if (!directory) shards.push_back(fs::path(path).filename());
  else try {
      for (const auto& entry : fs::recursive_directory_iterator(path))
        if (entry.is_regular_file() && is_tar_name(entry.path())) shards.push_back(fs::relative(entry.path(), path));
    } catch (const fs::filesystem_error& e) { machine_error(path, ": cannot be listed: ", e.code().message()); }
  if (shards.empty()) input_error(path, ": no shard: expected .tar or .tar.gz files");
  std::sort(shards.begin(), shards.end());
  const std::string folder = directory ? path : parent_directory(path);
  const auto meta = directory ? read_energon_meta(path) : std::nullopt;
  if (meta)
    for (const std::string& name : meta->train)
      if (!std::binary_search(shards.begin(), shards.end(), name))
        input_error(path, ": the split names ", name, ", which is not there");

  DurableWriter lines(out);
  std::int64_t samples = 0;
  for (const std::string& shard : shards) {
    std::string text;
    const std::string file = folder + "/" + shard;
    const std::vector<std::uint64_t> borders = list_samples(file, shard, &text);
    const auto count = static_cast<std::int64_t>(borders.size()) - 1;
    if (const auto index = read_tar_index(file); index && *index != borders)
      input_error(file, ".idx: is not the index of its shard, which has ", count, " samples up to byte ",
                  borders.back());
    if (meta)
      if (const auto promised = meta->shard_samples.find(shard);
          promised != meta->shard_samples.end() && promised->second != count)
        input_error(file, ": ", count, " samples, .nv-meta promises ", promised->second);
    lines.write(text);
    samples += count;
  }
  lines.commit();
  return samples;
}

namespace {

// Which element is no finite number; "" when all are.
std::string not_finite(const Tensor& t) {
  std::string fault;
  by_dtype(t.dtype(), [&](auto v) {
    const auto* values = t.data<decltype(v)>();
    const auto* end = values + t.numel();
    const auto* bad =
        std::find_if(values, end, [](auto x) { return !std::isfinite(static_cast<Accum<decltype(x)>>(x)); });
    if (bad != end) fault = cat("element ", bad - values, " is ", static_cast<Accum<decltype(v)>>(*bad));
  });
  return fault;
}

// The parameters of a CLIP model, or of a tower by itself, under the names that its file may hold.
std::vector<NamedShape> expected_of_part(const std::string& directory) {
  if (is_clip(directory))
    return expected_names(
        ClipModel(ClipConfig::read(read_config_json(directory), directory + "/config.json")).parameters());
  Parameters parameters;
  const RiceVit tower(parameters, read_tower_source_config(directory, VisionConfig().merge));
  return expected_names(parameters);
}

// CLIP, or a tower alone.
bool is_part(const std::string& directory) {
  const Json config = read_config_json(directory);
  return is_clip(directory) || (config.find("vision_config") && !config.find("text_config"));
}

}  // namespace

CheckpointReport inspect_checkpoint(const std::string& directory) {
  const bool part = is_part(directory);
  ModelConfig config = part ? ModelConfig() : read_model_config(directory);
  const CheckpointReader weights = CheckpointReader::open(directory);
  CheckpointReport report;
  const std::string tie = part ? "" : tie_to_weights(config.text, weights, directory);
  report.tied = !part && config.text.tied;
  for (const auto& e : weights.entries()) {
    const Safetensors& shard = weights.shards()[e.shard];
    const SafetensorsEntry* stored = shard.find(e.on_disk);
    report.tensors.push_back({e.name, e.on_disk, e.dtype, e.shape.str(), shard.path()});
    report.parameters += e.shape.numel();
    report.bytes += e.bytes;
    const auto dtype = stored->loads_as();
    if (!dtype || *dtype == Dtype::i64 || *dtype == Dtype::i32 || *dtype == Dtype::u8)
      report.problems.push_back(
          cat(shard.path(), ": tensor '", e.on_disk, "': expected floating-point numbers, got ", e.dtype));
    else if (const std::string fault = not_finite(weights.tensor(e.name)); !fault.empty())
      report.problems.push_back(cat(shard.path(), ": tensor '", e.on_disk, "': ", fault));
  }
  const auto add = [&](const std::vector<std::string>& faults) {
    report.problems.insert(report.problems.end(), faults.begin(), faults.end());
  };
  add(weights.name_faults(part ? expected_of_part(directory) : expected_names(Onevision(config), weights)));
  if (part) return report;
  if (!tie.empty()) add({tie});
  // Weights alone are no fault; files beside them that do not fit are.
  const auto names = list_directory(directory);
  const auto is = [&](const char* name) { return std::find(names.begin(), names.end(), name) != names.end(); };
  if (is("tokenizer.json") || is("vocab.json") || is("preprocessor_config.json") || is("processor_config.json")) try {
      add(directory_faults(directory, config, Processor::read(directory)));
    } catch (const Error& e) { add({e.what()}); }
  return report;
}

std::string CheckpointReport::text() const {
  std::ostringstream out;
  std::size_t name = 0, shape = 0;
  for (const Line& t : tensors) name = std::max(name, t.name.size()), shape = std::max(shape, t.shape.size());
  for (const Line& t : tensors)
    out << t.name << std::string(name - t.name.size() + 2, ' ') << t.dtype
        << std::string(6 - std::min<std::size_t>(5, t.dtype.size()), ' ') << t.shape
        << std::string(shape - t.shape.size() + 2, ' ') << t.shard.substr(t.shard.rfind('/') + 1) << "\n";
  out << tensors.size() << " tensors, " << parameters << " parameters, " << bytes << " bytes"
      << (tied ? "; the head is the embedding" : "") << "\n";
  for (const std::string& p : problems) out << "problem: " << p << "\n";
  out << problems.size() << " problems against config.json\n";
  return out.str();
}

}  // namespace ov
