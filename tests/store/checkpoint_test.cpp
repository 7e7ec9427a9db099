#include "store/hf_weights.h"

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>

#include "base/io/durable_directory.h"
#include "base/json.h"
#include "store/hf_names.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

const std::string golden = "tests/golden/dense/checkpoint";

// Name and shape of every parameter of the golden model, as PyTorch lists them.
std::vector<NamedShape> golden_parameters() {
  std::vector<NamedShape> list;
  const Json summary = Json::read("tests/golden/dense/summary.json");
  for (const auto& [name, dims] : summary.at("module_names").members()) {
    std::vector<std::int64_t> shape;
    for (const Json& d : dims.items()) shape.push_back(d.as_int());
    list.push_back({name, Shape(shape)});
  }
  return list;
}

std::vector<NamedTensor> golden_tensors() {
  const CheckpointReader reader = CheckpointReader::open(golden);
  std::vector<NamedTensor> tensors;
  for (const auto& e : reader.entries()) tensors.push_back({e.name, reader.tensor(e.name)});
  return tensors;
}

bool same_bits(const CheckpointReader& a, const CheckpointReader& b) {
  if (a.entries().size() != b.entries().size()) return false;
  for (const auto& e : a.entries()) {
    if (!b.has(e.name)) return false;
    if (!test::same_bits(a.tensor(e.name), b.tensor(e.name))) return false;
  }
  return true;
}

std::string fault_of(const std::string& directory) {
  return thrown([&] { CheckpointReader::open(directory); });
}

const NamedTensor x{"model.visual.class_embedding", Tensor::of<float>({1, 2, 3, 4}, {4})};
const NamedTensor y{"lm_head.weight", Tensor::of<float>({5, 6, 7, 8, 9, 10}, {3, 2})};

}  // namespace

TEST_CASE("both spellings are read, the released one is written (M-39, R-35)") {
  struct Row {
    const char *on_disk, *in_memory;
  };
  const Row written[] = {
      {"visual.blocks.3.attn.qkv.bias", "model.visual.blocks.3.attn.qkv.bias"},
      {"visual.merger.mlp.0.weight", "model.visual.merger.mlp.0.weight"},
      {"visual.merger.mlp.2.bias", "model.visual.merger.mlp.2.bias"},
      {"model.layers.11.mlp.experts.7.gate_proj.weight",
       "model.language_model.layers.11.mlp.experts.7.gate_proj.weight"},
      {"model.embed_tokens.weight", "model.language_model.embed_tokens.weight"},
      {"model.norm.weight", "model.language_model.norm.weight"},
      {"lm_head.weight", "lm_head.weight"},
      {"text_model.final_layer_norm.weight", "text_model.final_layer_norm.weight"},
  };
  for (const Row& r : written) {
    CHECK(name_in_memory(r.on_disk) == r.in_memory);
    CHECK(name_on_disk(r.in_memory) == r.on_disk);
    CHECK(name_in_memory(r.in_memory) == r.in_memory);
  }
  for (const char* prefix : {"visual.", "model.visual."}) {
    CHECK(name_in_memory(std::string(prefix) + "merger.linear_fc1.weight") == "model.visual.merger.mlp.0.weight");
    CHECK(name_in_memory(std::string(prefix) + "merger.linear_fc2.bias") == "model.visual.merger.mlp.2.bias");
  }
  CHECK(name_in_memory("visual.rotary_pos_emb.inv_freq") == "");
}

TEST_CASE("the golden checkpoint's two shards hold exactly the parameters PyTorch lists") {
  const CheckpointReader reader = CheckpointReader::open(golden);
  CHECK(reader.shards().size() == 2);
  const auto parameters = golden_parameters();
  CHECK(parameters.size() == 83);
  CHECK(reader.name_faults(parameters).empty());
  reader.check_names(parameters);
  const Safetensors second = Safetensors::open(golden + "/model-00002-of-00002.safetensors");
  CHECK(reader.tensor("model.visual.merger.mlp.2.bias").to_vector<float>() ==
        second.tensor("visual.merger.mlp.2.bias").to_vector<float>());
}

TEST_CASE("missing, misshapen and extra tensors are each one line, a near name is offered (T-40)") {
  const CheckpointReader reader = CheckpointReader::open(golden);
  auto parameters = golden_parameters();
  const auto at = [&](const std::string& name) -> NamedShape& {
    for (NamedShape& p : parameters)
      if (p.name == name) return p;
    throw std::runtime_error(name);
  };
  at("model.language_model.norm.weight").name = "model.language_model.norn.weight";
  at("model.visual.merger.mlp.0.bias").shape = {128};
  at("lm_head.weight").shape = {96, 736};
  const std::vector<std::string> faults = {
      golden +
          ": tensor 'model.language_model.norn.weight' is missing; did you mean 'model.language_model.norm.weight'?",
      golden +
          "/model-00002-of-00002.safetensors: tensor 'visual.merger.mlp.0.bias': expected shape [128], found [256]",
      golden + "/model-00001-of-00002.safetensors: tensor 'lm_head.weight': expected shape [96, 736], found [736, 96]",
      golden +
          "/model-00001-of-00002.safetensors: tensor 'model.norm.weight' is not part of this model; did you mean "
          "'model.language_model.norn.weight'?",
  };
  CHECK(reader.name_faults(parameters) == faults);
  CHECK_THROWS_WITH(reader.check_names(parameters), (faults[0] + " (and 3 more like it)").c_str());
  CHECK_THROWS_AS(reader.tensor("model.language_model.norn.weight"), Error);
}

TEST_CASE("the golden checkpoint written with its shard size has its bytes, and its index says the same") {
  const ScratchDirectory dir;
  const auto files = write_checkpoint(dir.path(), golden_tensors(), {.max_shard_bytes = 1'640'000, .dtype = {}});
  CHECK(files == std::vector<std::string>{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                          "model.safetensors.index.json"});
  for (const std::string& f : {files[0], files[1]}) CHECK(read_file(dir / f) == read_file(golden + "/" + f));
  CHECK(Json::read(dir / files[2]).dump() == Json::read(golden + "/" + files[2]).dump());
}

TEST_CASE("a checkpoint in one file or in shards of any size comes back with the same bits") {
  const CheckpointReader original = CheckpointReader::open(golden);
  for (const std::int64_t bytes : {std::int64_t{1}, std::int64_t{100'000}, std::int64_t{5'000'000'000}}) {
    const ScratchDirectory dir;
    const auto files = write_checkpoint(dir.path(), golden_tensors(), {.max_shard_bytes = bytes, .dtype = {}});
    if (bytes == 1) CHECK(files.size() == 83 + 1);
    if (bytes > 2'454'656) CHECK(files == std::vector<std::string>{"model.safetensors"});
    CHECK(same_bits(CheckpointReader::open(dir.path()), original));
  }
}

TEST_CASE("a conversion on the way out rounds floats to bf16 and leaves integers") {
  const ScratchDirectory dir;
  write_checkpoint(dir.path(),
                   {{"a", Tensor::of<float>({1.00390625f, -2}, {2})}, {"n", Tensor::of<std::int64_t>({3}, {1})}},
                   {.max_shard_bytes = 1000, .dtype = Dtype::bf16});
  const CheckpointReader reader = CheckpointReader::open(dir.path());
  CHECK(reader.tensor("a").dtype() == Dtype::bf16);
  CHECK(float(reader.tensor("a").data<Bf16>()[0]) == 1.0f);  // 1 + 2^-8 is half-way and goes to the even neighbour
  CHECK(reader.tensor("n").to_vector<std::int64_t>().at(0) == 3);
}

TEST_CASE("a directory whose shards and index disagree is one line that says where") {
  const ScratchDirectory dir;
  const std::string a = "model-00001-of-00002.safetensors", b = "model-00002-of-00002.safetensors";
  const auto index = [&](const std::string& map) {
    write_durably(dir / "model.safetensors.index.json", R"({"metadata":{},"weight_map":)" + map + "}");
  };
  const auto restore = [&] {
    for (const std::string& f : list_directory(dir.path())) std::filesystem::remove(dir / f);
    write_checkpoint(dir.path(), {x, y}, {.max_shard_bytes = 1, .dtype = {}});
  };
  restore();
  CHECK(fault_of(dir.path()) == "");

  std::filesystem::remove(dir / b);
  CHECK(fault_of(dir.path()) == dir / b + ": the shard is missing; model.safetensors.index.json names it");
  restore();
  write_safetensors(dir / "model-00003-of-00003.safetensors", {y});
  CHECK(fault_of(dir.path()) ==
        dir / "model-00003-of-00003.safetensors: a shard that model.safetensors.index.json does not name");
  restore();
  write_safetensors(dir / "model.safetensors", {x, y});
  CHECK(fault_of(dir.path()).find("holds model.safetensors and model-00001-of-00002.safetensors") != std::string::npos);
  restore();
  std::filesystem::remove(dir / "model.safetensors.index.json");
  CHECK(fault_of(dir.path()) == dir.path() + ": holds shards such as " + a + " but no model.safetensors.index.json");
  restore();
  index(R"({"visual.class_embedding":")" + a + R"("})");
  CHECK(fault_of(dir.path()).find(b + ": a shard that") != std::string::npos);
  index(R"({"visual.class_embedding":")" + a + R"(","lm_head.weight":")" + b + R"(","model.norm.weight":")" + b +
        R"("})");
  CHECK(fault_of(dir.path()) ==
        dir / b + ": tensor 'model.norm.weight' is missing; model.safetensors.index.json names it");
  index(R"({"visual.class_embedding":")" + b + R"(","lm_head.weight":")" + a + R"("})");
  CHECK(fault_of(dir.path()) ==
        dir / a + ": tensor 'visual.class_embedding' is here, model.safetensors.index.json says " + b);
  index(R"({"model.norm.weight":")" + a + R"(","lm_head.weight":")" + b + R"("})");
  CHECK(fault_of(dir.path()) ==
        dir / a + ": tensor 'visual.class_embedding' is not named in model.safetensors.index.json");
  index("7");
  CHECK(fault_of(dir.path()) == dir / "model.safetensors.index.json: weight_map: expected an object, found an integer");
  index(R"({"lm_head.weight":"../other.safetensors"})");
  CHECK(fault_of(dir.path()).find("is not a plain file name") != std::string::npos);
  index("{}");
  CHECK(fault_of(dir.path()).find("names no tensor") != std::string::npos);
  write_durably(dir / "model.safetensors.index.json", "{\n  oops");
  CHECK(fault_of(dir.path()).find("model.safetensors.index.json:2:") != std::string::npos);

  // Beside a single file the index must name it, and all of it, as MLX writes it.
  for (const std::string& f : list_directory(dir.path())) std::filesystem::remove(dir / f);
  write_safetensors(dir / "model.safetensors", {x, y});
  write_safetensors(dir / "model.fp16.safetensors", {y});  // no shard by its name
  const std::string both = R"({"model.visual.class_embedding":"model.safetensors","lm_head.weight":")";
  index(both + "model.safetensors\"}");
  CHECK(fault_of(dir.path()) == "");
  CHECK(CheckpointReader::open(dir.path()).entries().size() == 2);
  index(both + "model.fp16.safetensors\"}");
  CHECK(fault_of(dir.path()).find("an index of other files") != std::string::npos);
  index(R"({"lm_head.weight":"model.safetensors"})");
  CHECK(fault_of(dir.path()).find("is not named in model.safetensors.index.json") != std::string::npos);
  // Without it, the index may name its shards as it likes.
  std::filesystem::rename(dir / "model.safetensors", dir / "part_one.safetensors");
  std::filesystem::rename(dir / "model.fp16.safetensors", dir / "part_two.safetensors");
  index(R"({"model.visual.class_embedding":"part_one.safetensors","lm_head.weight":"part_one.safetensors"})");
  CHECK(fault_of(dir.path()) == "");

  const ScratchDirectory other;
  CHECK(fault_of(other.path()).find(": holds no weights, expected model.safetensors") != std::string::npos);
  CHECK(fault_of(other / "none").find("none: cannot list: No such file") != std::string::npos);
  write_safetensors(other / "model.safetensors", {{"visual.class_embedding", x.tensor}, {x.name, x.tensor}});
  CHECK(fault_of(other.path()) == other /
                                      "model.safetensors: tensor 'model.visual.class_embedding' is the same "
                                      "parameter as 'visual.class_embedding'");
}

TEST_CASE("a saved model killed before and after every step is the old one or the new one, bit for bit") {
  const ScratchDirectory dir;
  const std::string path = dir / "model";
  const NamedTensor x2{x.name, Tensor::of<float>({-1, -2, -3, -4}, {4})};
  const NamedTensor y2{y.name, Tensor::of<float>({-5, -6, -7, -8, -9, -10}, {3, 2})};
  const auto save = [&](const std::vector<NamedTensor>& tensors) {
    DurableDirectory directory(path, "test");
    write_checkpoint(directory.path(), tensors, {.max_shard_bytes = 1, .dtype = {}});
    write_durably(directory.file("config.json"), "{}\n");
    directory.commit();
  };
  int old_ones = 0, new_ones = 0;
  const auto first = [&](const char* name) {
    const CheckpointReader reader = CheckpointReader::open(path);
    return reader.tensor(name).to_vector<float>()[0];
  };
  const int kills = kill_at_every_step(
      [&] {
        save({x, y});
      },
      [&] {
        save({x2, y2});
      },
      [&](const std::string& where) {
        CAPTURE(where);
        DurableDirectory::recover(path);
        const float a = first(x.name.c_str()), b = first(y.name.c_str());
        old_ones += a == 1 && b == 5;
        new_ones += a == -1 && b == -5;
      });
  CHECK(old_ones > 0);
  CHECK(new_ones > 0);
  CHECK(old_ones + new_ones == kills);

  // Weights are never written over weights, where a kill would mix them.
  CHECK_THROWS_AS(write_checkpoint(path, {x, y}), Error);
}
