// The two sources of a merge as tensors under this model's names, whatever names they have on disk.
#pragma once
#include <map>
#include <string>

#include "model/config.h"
#include "nn/parameters.h"

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
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }  // by name in memory
  // Copies them into the parameters of this part. An untied head of the parameters that the source lacks gets the
  // embedding. Throws input_error: a tensor that is missing, misshapen or not part of the model.
  void load(Parameters& parameters) const;

 private:
  void expect_tied_head() const;  // input_error unless the head has the embedding's bits
  MergeSource(std::string directory, const MergePart& part) : directory_(std::move(directory)), part_(&part) {}
  std::string directory_;
  const MergePart* part_;
  std::map<std::string, Tensor> tensors_;
};

// What a directory's config.json says of its part. `merge`: patches a side of a token where it says nothing.
VisionConfig read_tower_source_config(const std::string& directory, std::int64_t merge);
TextConfig read_language_source_config(const std::string& directory);
// ModelConfig::source of the merged model: what sources that are whole models say.
Json merged_source_config(const std::string& tower, const std::string& language);

}  // namespace ov
