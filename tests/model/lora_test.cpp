// The merge against the formula, on the golden model; the layout of the file is PEFT's.
#include "model/files/lora.h"

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "base/json.h"
#include "model/files/convert.h"
#include "model/files/hf_directory.h"
#include "tests/base/scratch.h"

using namespace ov;

namespace {

const std::string original = "tests/golden/dense/checkpoint";
const std::string q_name = "model.language_model.layers.0.self_attn.q_proj.weight",
                  down_name = "model.language_model.layers.1.mlp.down_proj.weight";

Tensor some(const Shape& shape, double step) {
  std::vector<float> x(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(std::sin(step * static_cast<double>(i + 1)));
  return Tensor::of(x, shape);
}

struct Adapter {
  Json config = Json::object({{"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 6}, {"bias", "none"}});
  std::vector<NamedTensor> tensors;
  void write(const std::string& directory) const {
    std::filesystem::create_directory(directory);
    write_durably(directory + "/adapter_config.json", config.dump(2));
    write_safetensors(directory + "/adapter_model.safetensors", tensors);
  }
};

// On q of one layer under its name in memory, on down of another under its released one.
Adapter adapter_for(const CheckpointReader& weights) {
  const Shape q = weights.tensor(q_name).shape(), down = weights.tensor(down_name).shape();
  Adapter a;
  a.tensors = {{"base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight", some({2, q[1]}, 0.3)},
               {"base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_B.weight", some({q[0], 2}, 0.7)},
               {"base_model.model.model.layers.1.mlp.down_proj.lora_A.weight", some({2, down[1]}, 1.1)},
               {"base_model.model.model.layers.1.mlp.down_proj.lora_B.weight", some({down[0], 2}, 1.3)}};
  return a;
}

double worst_error(const Tensor& merged, const Tensor& base, const Tensor& a, const Tensor& b, double scale) {
  const auto w = merged.to(Dtype::f64).to_vector<double>(), w0 = base.to(Dtype::f64).to_vector<double>(),
             x = a.to(Dtype::f64).to_vector<double>(), y = b.to(Dtype::f64).to_vector<double>();
  const auto rows = static_cast<std::size_t>(b.dim(0)), columns = static_cast<std::size_t>(a.dim(1)),
             r = static_cast<std::size_t>(a.dim(0));
  double worst = 0;
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < columns; ++j) {
      double sum = 0;
      for (std::size_t k = 0; k < r; ++k) sum += y[i * r + k] * x[k * columns + j];
      worst = std::max(worst, std::abs(w[i * columns + j] - (w0[i * columns + j] + scale * sum)));
    }
  return worst;
}

}  // namespace

TEST_CASE("lora: merged weights are W + alpha/r B A, at load and on disk, and others keep their bits") {
  const ScratchDirectory dir;
  const CheckpointReader weights = CheckpointReader::open(original);
  Adapter adapter = adapter_for(weights);
  adapter.write(dir / "adapter");
  convert_model(original, dir / "merged", {.adapter = dir / "adapter"});
  const CheckpointReader merged = CheckpointReader::open(dir / "merged");
  // Values are below 8, and a sum of two products and one addition rounds four times.
  const double bound = 4 * 8 * 0x1p-24;
  CHECK(worst_error(merged.tensor(q_name), weights.tensor(q_name), adapter.tensors[0].tensor, adapter.tensors[1].tensor,
                    3) < bound);
  CHECK(worst_error(merged.tensor(down_name), weights.tensor(down_name), adapter.tensors[2].tensor,
                    adapter.tensors[3].tensor, 3) < bound);
  CHECK(worst_error(merged.tensor(q_name), weights.tensor(q_name), adapter.tensors[0].tensor, adapter.tensors[1].tensor,
                    2.9) > bound);
  for (const auto& e : weights.entries())
    if (e.name != q_name && e.name != down_name)
      CHECK_MESSAGE(equal_bits(weights.tensor(e.name), merged.tensor(e.name)), e.name);

  const auto loaded = load_model(original, {.adapter = dir / "adapter"});
  const auto on_disk = load_model(dir / "merged");
  CHECK(equal_bits(loaded->parameters().values(), on_disk->parameters().values()));

  adapter.config.set("use_rslora", true);
  adapter.config.set("alpha_pattern", Json::object({{"layers.1.mlp.down_proj", 12}}));
  adapter.write(dir / "other");
  convert_model(original, dir / "rooted", {.adapter = dir / "other"});
  const CheckpointReader rooted = CheckpointReader::open(dir / "rooted");
  CHECK(worst_error(rooted.tensor(q_name), weights.tensor(q_name), adapter.tensors[0].tensor, adapter.tensors[1].tensor,
                    6 / std::sqrt(2.0)) < 2 * bound);
  CHECK(worst_error(rooted.tensor(down_name), weights.tensor(down_name), adapter.tensors[2].tensor,
                    adapter.tensors[3].tensor, 12 / std::sqrt(2.0)) < 4 * bound);
}

TEST_CASE("lora: what is not this model's adapter, or another kind, is refused by name") {
  const ScratchDirectory dir;
  const CheckpointReader weights = CheckpointReader::open(original);
  int n = 0;
  const auto refused = [&](const char* word, const std::function<void(Adapter&)>& change) {
    Adapter adapter = adapter_for(weights);
    change(adapter);
    const std::string path = dir / ("a" + std::to_string(n++));
    adapter.write(path);
    std::string message;
    try {
      LoraAdapter::read(path).check(weights);
    } catch (const Error& e) { message = e.what(); }
    CHECK_MESSAGE(message.find(word) != std::string::npos, word, ": ", message);
  };
  refused("use_dora", [](Adapter& a) { a.config.set("use_dora", true); });
  refused("bias", [](Adapter& a) { a.config.set("bias", "all"); });
  refused("peft_type", [](Adapter& a) { a.config.set("peft_type", "IA3"); });
  refused("lora_alpha", [](Adapter& a) { a.config = Json::object({{"peft_type", "LORA"}, {"r", 2}}); });
  refused("rank 2", [](Adapter& a) { a.config.set("r", 4); });
  refused("only one of", [](Adapter& a) { a.tensors.pop_back(); });
  refused("layers.9", [](Adapter& a) {
    a.tensors.push_back({"base_model.model.model.layers.9.mlp.down_proj.lora_A.weight", some({2, 8}, 1)});
    a.tensors.push_back({"base_model.model.model.layers.9.mlp.down_proj.lora_B.weight", some({8, 2}, 1)});
  });
  refused("the adapter is for", [](Adapter& a) { a.tensors[1].tensor = some({7, 2}, 1); });
  refused("lora_embedding_A",
          [](Adapter& a) { a.tensors[0].name = "base_model.model.model.embed_tokens.lora_embedding_A"; });
}

TEST_CASE("checkpoints of other programs are refused by name, with what to do (R-35)") {
  const ScratchDirectory dir;
  int n = 0;
  for (const auto& [file, word] : {std::pair{"latest_checkpointed_iteration.txt", "Megatron"},
                                   {"__0_0.distcp", "consolidate"},
                                   {"pytorch_model-00001-of-00002.bin", "safetensors"},
                                   {"adapter_model.safetensors", "--adapter"}}) {
    const std::string path = dir / std::to_string(n++);
    std::filesystem::create_directory(path);
    write_durably(path + "/" + file, "x");
    CHECK_THROWS_WITH_AS(CheckpointReader::open(path), doctest::Contains(word), Error);
  }
  std::filesystem::create_directory(dir / "names");
  write_safetensors(dir / "names/model.safetensors",
                    {{"language_model.decoder.layers.0.self_attention.linear_qkv.weight", some({2, 2}, 1)}});
  CHECK_THROWS_WITH_AS(CheckpointReader::open(dir / "names"), doctest::Contains("mcore"), Error);
}
