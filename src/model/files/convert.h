// A model directory written again: other types, other shards, a head of its own. No model is built, so that a directory
// larger than memory can be converted: tensors pass one at a time from the mapped file to the new one.
#pragma once
#include <optional>
#include <string>

#include "tensor/dtype.h"

namespace ov {

struct ConvertOptions {
  std::optional<Dtype> dtype = {};               // of floating tensors; none: as stored, F16 as f32
  std::int64_t max_shard_bytes = 5'000'000'000;  // as CheckpointOptions
  bool untied_head = false;                      // a tied model gets a copy of the embedding for a head
  std::string adapter = {};                      // directory of a LoRA adapter that is added (model/files/lora.h)
};

// Into a directory of its own, durably. config.json keeps all its keys but the type and, with a new head, the tie;
// JSON, text, template, code and licence files are copied as they are. Tensors are written under their released
// names. Errors: input_error, those of reading the directory.
void convert_model(const std::string& from, const std::string& to, const ConvertOptions& options);

// "A" and "B" tensor by tensor, each widened to f64: one line for each that is missing on one side, has another shape,
// or differs, with the largest |a-b|; then a line that counts. Returns whether nothing differs.
bool diff_weights(const std::string& a, const std::string& b, std::string& report);

}  // namespace ov
