// safetensors, the file format of Hugging Face checkpoints (https://github.com/huggingface/safetensors, "Format"):
//
//   8 bytes   N, the length of the header, little endian; at most 100 MB
//   N bytes   JSON {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, "__metadata__": {...}}
//             padded with spaces; offsets count from the end of the header
//   the rest  the tensors, row-major, little endian, without holes and without overlap
//
// Reading maps the file; a Tensor points into the mapping. The whole header is checked when the file is opened; every
// error is one line "path: tensor 'x': what was expected, what came" (input_error).
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/io/file.h"
#include "tensor/tensor.h"

namespace ov {

using Metadata = std::map<std::string, std::string>;

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // as the file spells it, "F32"
  Shape shape;
  std::uint64_t begin, end;  // bytes, from the end of the header

  // What tensor() gives: F16 arrives as f32. Empty when no Dtype of ours can hold it (BOOL, I16, F8_E4M3 ...).
  std::optional<Dtype> loads_as() const;
};

class Safetensors {
 public:
  static Safetensors open(const std::string& path);
  static Safetensors open(std::shared_ptr<const MappedFile> file);

  const std::string& path() const { return file_->path(); }
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }  // in the order of their bytes
  const SafetensorsEntry* find(const std::string& name) const;               // null when there is none
  const Metadata& metadata() const { return metadata_; }

  // Read-only memory of the mapping. F16, and data that does not lie aligned, are copied. input_error when the name is
  // missing (a near one is offered) or its dtype has no counterpart here.
  Tensor tensor(const std::string& name) const;

 private:
  std::shared_ptr<const MappedFile> file_;
  const std::byte* data_ = nullptr;
  std::vector<SafetensorsEntry> entries_;
  std::unordered_map<std::string, std::size_t> index_;
  Metadata metadata_;
};

struct NamedTensor {
  std::string name;
  Tensor tensor;  // host memory, any strides
};

struct TensorInfo {
  std::string name;
  Dtype dtype;
  Shape shape;
};

// Durable and streaming: the header is known first, then the tensors come one by one in its order. The same content
// gives the same bytes.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::string& path, std::vector<TensorInfo> tensors, const Metadata& metadata);
  void write(const Tensor& tensor);
  void write_rows(const Tensor& rows);  // the next rows of a tensor, which comes in pieces
  void commit();

 private:
  std::string path_;
  std::vector<TensorInfo> tensors_;
  std::size_t next_ = 0;
  std::int64_t rows_ = 0;  // that are there of the next tensor
  DurableWriter file_;
};

// Wider dtypes come first, so that every tensor lies aligned; within a width the order is kept.
void write_safetensors(const std::string& path, std::vector<NamedTensor> tensors, const Metadata& metadata = {});

}  // namespace ov
