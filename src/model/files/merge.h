// Stage 0: one model from a vision tower and a language model that were trained apart, with a merger between them that
// starts from nothing.
//
// A tower's directory holds config.json with a vision_config (or is one), and its weights as
//   visual.*, model.visual.*   this model's; a merger and whatever is not of the tower are left out
//   vision_model.*             RICE-ViT as released (MLCD's names): q, k and v become one product; post_layernorm is
//                              dropped, since the model does not have it
// A language model's directory holds config.json with a text_config (or is one, as Qwen3's) and
//   model.*, model.language_model.*, lm_head.weight    its pictures' side, if there is one, is left out
//
// The head: a language model without lm_head.weight has its embedding for a head. By default the merged model gets a
// copy of it and has a head of its own from then on; tied keeps one table for both (config.json: tie_word_embeddings).
//
// Errors: input_error, one line that names the directory and what is missing, misshapen or does not fit.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "model/files/merge_sources.h"
#include "model/onevision.h"
#include "nn/init.h"

namespace ov {

struct MergeOptions {
  // Directories. A part without one is described by `described` and initialised like the merger.
  std::string tower, language;
  ModelConfig described;  // special tokens; merge size of a tower whose config.json has none
  bool tied = false;      // of a part with a source; else described.text.tied
  InitOptions init;
  std::uint64_t seed = 1;
  Device* device = &cpu();  // where the parts are put together and checked
};

// The configuration of the merged model: each part as its source says, the merger as wide as the language model.
ModelConfig merged_config(const MergeOptions& options);
// The model's tensors one at a time, as the sources store them; drawn in `drawn` where there is no source. A merge of
// any size needs the memory of one of them.
class MergedWeights {
 public:
  MergedWeights(const Parameters& parameters, const MergeOptions& options, Dtype drawn);  // of parameters the shapes
  Tensor operator()(const Parameter& p) const;

 private:
  MergeOptions options_;
  Dtype drawn_;
  std::optional<MergeSource> tower_, language_;
};
// The model, f32: F16 and BF16 sources are widened.
std::unique_ptr<Onevision> merge_models(const MergeOptions& options);

// Whether a model holds what its sources hold, rounded to its type. Each part is read again, into a tower and a decoder
// by themselves; where a tensor agrees they compute with the model's own, so that a mapped model is not held twice.
struct MergeCheck {
  std::int64_t tensors = 0;         // that came from a source
  std::int64_t tensors_differ = 0;  // not with the source's bits
  std::string first_difference;     // its name
  bool features_differ = false;     // the tower's, of two pictures
  bool logits_differ = false;       // the language model's, of the prompt
  bool passed() const { return tensors_differ == 0 && !features_differ && !logits_differ; }  // all of them, to the bit
  std::string text() const;                                                                  // one line
};
// `prompt`: ids of a text, not empty, without pictures.
MergeCheck check_merge(const Onevision& model, const MergeOptions& options, const std::vector<std::int64_t>& prompt);

}  // namespace ov
