// The weights of a Hugging Face model directory: one model.safetensors, or shards model-00001-of-00003.safetensors with
// model.safetensors.index.json {"metadata": {"total_size": bytes}, "weight_map": {tensor: shard}}.
// Both side by side are read when the index names the single file alone. The index decides what belongs to the model.
// A checkpoint that several ranks wrote (store/parts.h) is read as if it were one.
// Names here are the ones in memory (store/hf_names.h). config.json and the tokenizer are not its matter.
//
// Errors: input_error, one line that names the file and the tensor.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "store/parts.h"

namespace ov {

struct NamedShape {
  std::string name;
  Shape shape;
};

class CheckpointReader {
 public:
  struct Entry {
    std::string name;     // in memory
    std::string on_disk;  // as the file spells it
    std::string dtype;    // as the file spells it, "BF16"
    Shape shape;
    std::size_t shard;  // index into shards(); of several parts the first that has some of it
    std::int64_t bytes;
  };

  // Refused: a shard that is missing or that the index does not name, a tensor that is not where the index says, one
  // that no line of the index names, one parameter under two spellings, a single file beside shards or an index of
  // other files.
  static CheckpointReader open(const std::string& directory);

  const std::string& path() const { return path_; }
  const std::vector<Entry>& entries() const { return entries_; }  // shard by shard, in the order of their bytes
  const std::vector<Safetensors>& shards() const { return shards_; }
  bool has(const std::string& name) const { return index_.count(name) != 0; }
  Tensor tensor(const std::string& name) const;  // as Safetensors::tensor: mapped, F16 as f32

  // One line for every parameter of `expected` that is missing or has another shape, and for every tensor that
  // `expected` lacks. A tied head is the caller's matter: expect lm_head.weight only when has() says so.
  std::vector<std::string> name_faults(const std::vector<NamedShape>& expected) const;
  // Throws the first of them and says how many more there are.
  void check_names(const std::vector<NamedShape>& expected) const;

 private:
  void add_shard(const std::string& file);
  void add_parts(SavedParts saved);
  void add(const SafetensorsEntry& stored, const Shape& shape, std::size_t shard);
  std::string path_;
  std::optional<SavedParts> parts_;
  std::vector<Safetensors> shards_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, std::size_t> index_;
};

struct CheckpointOptions {
  std::int64_t max_shard_bytes = 5'000'000'000;  // of tensor data; a single larger tensor gets its own shard
  std::optional<Dtype> dtype;                    // floating tensors are converted to it, one at a time
};

// Writes the tensors in the given order, under their names on disk, with metadata {"format": "pt"}. A directory that
// already holds weights is refused, since a kill half-way would mix two models: write into a DurableDirectory
// (base/io/durable_directory.h) to replace one. Returns the names of the files written.
std::vector<std::string> write_checkpoint(const std::string& directory, const std::vector<NamedTensor>& tensors,
                                          const CheckpointOptions& options = {});
// The same with tensors that are made one at a time: tensor(i) is asked for in order, each once.
std::vector<std::string> write_checkpoint(const std::string& directory, const std::vector<TensorInfo>& tensors,
                                          const std::function<Tensor(std::size_t)>& tensor,
                                          const CheckpointOptions& options = {});

}  // namespace ov
