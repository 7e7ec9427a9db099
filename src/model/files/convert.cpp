#include "model/files/convert.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/io/durable_directory.h"
#include "model/files/hf_directory.h"
#include "model/files/lora.h"
#include "model/files/model_card.h"
#include "store/hf_names.h"

namespace ov {
namespace {

bool is_copied(const std::string& name) {
  if (name == "config.json" || name == SavedParts::index_file || name.ends_with(".safetensors.index.json"))
    return false;
  for (const char* end : {".json", ".txt", ".jinja", ".py", ".md", "LICENSE", "tokenizer.model"})
    if (name.ends_with(end)) return true;
  return false;
}

// With `type` under the key that stands there, in every part that has it.
Json with_type(const Json& config, const char* type, bool whole) {
  Json out = Json::object();
  for (const auto& [key, value] : config.members())
    out.set(key, key == "torch_dtype" || key == "dtype" ? Json(type)
                 : value.is_object()                    ? with_type(value, type, false)
                                                        : value);
  if (whole && !config.find("torch_dtype") && !config.find("dtype")) out.set("torch_dtype", type);
  return out;
}

// The parts that say so, and the whole, which Transformers reads.
Json untied(Json config) {
  config.set("tie_word_embeddings", false);
  if (const Json* text = config.find("text_config"); text && text->find("tie_word_embeddings")) {
    Json part = *text;
    part.set("tie_word_embeddings", false);
    config.set("text_config", part);
  }
  return config;
}

// The largest |a-b|; infinite where only one is NaN.
double largest_difference(const Tensor& a, const Tensor& b) {
  constexpr std::int64_t piece = 1 << 20;  // elements that are widened at a time
  double most = 0;
  for (std::int64_t begin = 0, end; begin < a.numel(); begin = end) {
    end = std::min(a.numel(), begin + piece);
    const auto wide = [&](const Tensor& t) { return t.flat().slice(0, begin, end).to(Dtype::f64).to_vector<double>(); };
    const auto x = wide(a), y = wide(b);
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]))) continue;
      const double d = std::abs(x[i] - y[i]);
      most = std::isnan(d) ? std::numeric_limits<double>::infinity() : std::max(most, d);
    }
  }
  return most;
}

}  // namespace

void convert_model(const std::string& from, const std::string& to, const ConvertOptions& options) {
  const CheckpointReader weights = CheckpointReader::open(from);
  Json config = read_config_json(from);
  const bool new_head = options.untied_head && !weights.has(head_name);
  std::vector<std::string> sources;  // by what is written
  std::vector<TensorInfo> tensors;
  const auto add = [&](const std::string& name, const CheckpointReader::Entry& e) {
    const auto type = weights.shards()[e.shard].find(e.on_disk)->loads_as();
    if (!type)
      input_error(weights.shards()[e.shard].path(), ": tensor '", e.on_disk, "': ", e.dtype, " cannot be converted");
    tensors.push_back({name, *type, e.shape});
    sources.push_back(e.name);
  };
  for (const auto& e : weights.entries()) add(e.name, e);
  if (new_head) {
    const auto at = std::find_if(weights.entries().begin(), weights.entries().end(),
                                 [](const CheckpointReader::Entry& e) { return e.name == table_name; });
    if (at == weights.entries().end())
      input_error(from, ": has no embedding to make a head of: tensor '", table_name, "' is missing");
    add(head_name, *at);
    config = untied(config);
  }
  const bool halves = std::any_of(weights.entries().begin(), weights.entries().end(),
                                  [](const CheckpointReader::Entry& e) { return e.dtype == "F16"; });
  if (options.dtype) config = with_type(config, torch_name(*options.dtype), true);
  else if (halves) config = with_type(config, torch_name(Dtype::f32), true);

  std::optional<LoraAdapter> adapter;
  if (!options.adapter.empty()) adapter = LoraAdapter::read(options.adapter), adapter->check(weights);

  DurableDirectory out(to, "checkpoint");
  write_durably(out.file("config.json"), config.dump(2) + "\n");
  for (const std::string& name : list_directory(from))
    if (is_copied(name)) write_durably(out.file(name), read_file(from + "/" + name));
  write_checkpoint(out.path(), tensors,
                   [&](std::size_t i) {
                     const Tensor stored = weights.tensor(sources[i]);
                     return adapter ? adapter->merged(sources[i], stored) : stored;
                   },
                   {.max_shard_bytes = options.max_shard_bytes, .dtype = options.dtype});
  if (const auto files = list_directory(out.path()); std::find(files.begin(), files.end(), "README.md") != files.end())
    write_durably(out.file("README.md"), card_with_weights(read_file(from + "/README.md"), out.path()));
  out.commit();
}

bool diff_weights(const std::string& a, const std::string& b, std::string& report) {
  const CheckpointReader one = CheckpointReader::open(a), other = CheckpointReader::open(b);
  std::size_t compared = 0, differ = 0;
  const auto line = [&](const auto&... words) { report += cat(words..., "\n"), ++differ; };
  for (const auto& e : one.entries()) {
    if (!other.has(e.name)) {
      line(e.on_disk, ": only in ", a);
      continue;
    }
    const Tensor x = one.tensor(e.name), y = other.tensor(e.name);
    ++compared;
    if (x.shape() != y.shape()) line(e.on_disk, ": shapes ", x.shape().str(), " and ", y.shape().str());
    else if (const double d = largest_difference(x, y); d > 0) line(e.on_disk, ": differs by at most ", d);
  }
  for (const auto& e : other.entries())
    if (!one.has(e.name)) line(e.on_disk, ": only in ", b);
  report += cat(compared, " tensors compared, ", differ, " differences\n");
  return differ == 0;
}

}  // namespace ov
