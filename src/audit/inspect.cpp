#include "audit/inspect.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "base/io/file.h"
#include "data/sample/processor.h"
#include "image/decode.h"
#include "model/files/clip_directory.h"
#include "model/files/merge_sources.h"
#include "store/jsonl.h"
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
    report.bytes += static_cast<std::int64_t>(stored->end - stored->begin);
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
