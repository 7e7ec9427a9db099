// What the program makes of texts, pictures and model directories, as files that other implementations can be compared
// with.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "image/patches.h"

namespace ov {

// JSON lines {"text": ...} in, {"ids": [...]} out, one for one; added tokens in a text are found, nothing is added.
// Returns the number of lines. Errors: input_error that names the line.
std::int64_t inspect_tokens(const std::string& tokenizer_directory, const std::string& in, const std::string& out);

// The picture's `pixel_values` [P, 3 patch²] f32 and `image_grid_thw` [1,3] i64, as safetensors.
Patches inspect_image(const std::string& file, const ProcessorConfig& config, const std::string& out);

// The rows of a Parquet file as JSON lines (store/parquet/rows.h); binary is {"len", "sha256"}. Row groups are read in
// parallel, as many at a time as there are threads. Returns the number of rows. Errors leave nothing under `out`.
std::int64_t inspect_parquet(const std::string& file, const std::string& out);

// The samples of a tar shard, or of all shards in and below a directory by their names, as JSON lines {"key", "shard",
// "parts": {part: {"len", "sha256"}}}: all that is in the shards, whatever a split says. What stands beside them must
// fit: a shard's .idx, the counts and the names in .nv-meta. Returns the number of samples.
std::int64_t inspect_webdataset(const std::string& path, const std::string& out);

struct CheckpointReport {
  struct Line {
    std::string name, on_disk, dtype, shape, shard;
  };
  std::vector<Line> tensors;  // shard by shard, in the order of their bytes
  std::int64_t parameters = 0, bytes = 0;
  bool tied = false;  // no head of its own
  // Tensors that are missing, extra, of another shape or type than config.json asks for, or hold NaN or infinities; and
  // what tokenizer, image processor and config.json say differently.
  std::vector<std::string> problems;

  std::string text() const;  // a table, for people
};

// input_error when config.json or the weights cannot be read at all.
CheckpointReport inspect_checkpoint(const std::string& directory);

}  // namespace ov
