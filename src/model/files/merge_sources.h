// The two sources of a merge as tensors under this model's names, whatever names they have on disk. Nothing is held but
// the names: a tensor is read when it is asked for.
#pragma once
#include <map>
#include <string>

#include "model/config.h"
#include "nn/parameters.h"
#include "store/hf_weights.h"

namespace ov {

// A part of a model: the parameters whose names `has` says yes to.
struct MergePart {
  bool (*has)(const std::string& name);
  const char* name;  // in errors: "tower"
};
extern const MergePart tower_part, language_part;  // model.visual.* without the merger; model.language_model.*, lm_head

class MergeSource {
 public:
  static MergeSource tower(const std::string& directory);
  static MergeSource language(const std::string& directory);

  bool has(const std::string& name) const { return tensors_.count(name) != 0; }
  // As it is stored, F16 as f32. An untied head that the source lacks is the embedding.
  Tensor tensor(const std::string& name) const;
  // Throws input_error: a tensor of this part is missing, misshapen or not part of the model.
  void check(const Parameters& parameters) const;

 private:
  struct Stored {
    std::vector<std::string> names;  // in the file; of several the rows stand one below the other
    Shape shape;
    std::string dtype;
  };
  MergeSource(const std::string& directory, const MergePart& part)
      : directory_(directory), part_(&part), file_(CheckpointReader::open(directory)) {}
  void read_own_names();
  void read_mlcd_names();
  void expect_tied_head() const;  // input_error unless the head has the embedding's bits
  std::string directory_;
  const MergePart* part_;
  CheckpointReader file_;
  std::map<std::string, Stored> tensors_;  // by name in memory
};

// What a directory's config.json says of its part. `merge`: patches a side of a token where it says nothing.
VisionConfig read_tower_source_config(const std::string& directory, std::int64_t merge);
TextConfig read_language_source_config(const std::string& directory);
// ModelConfig::source of the merged model: what sources that are whole models say.
Json merged_source_config(const std::string& tower, const std::string& language);

}  // namespace ov
