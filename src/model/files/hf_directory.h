// Models in and out of Hugging Face directories: config.json, generation_config.json and the weights. Tokenizer and
// image processor files are the matter of export_model (train/job.h).
#pragma once
#include <memory>
#include <string>

#include "model/onevision.h"
#include "store/hf_weights.h"

namespace ov {

struct LoadOptions {
  Dtype dtype = Dtype::f32;
  std::string reference = "hf";  // numerics.reference
  bool hf_shift_bug = false;
  double pre_norm_eps = 0, merger_norm_eps = 0;  // 0: the reference's
  Device* device = &cpu();
};

ModelConfig read_model_config(const std::string& directory, const LoadOptions& options = {});
// Missing, extra and misshapen tensors are refused by name. An lm_head in the file is used; without one the head is
// the embedding, whatever config.json says about tying.
std::unique_ptr<Onevision> load_model(const std::string& directory, const LoadOptions& options = {});
// Only the weights, into a model that is allocated.
void load_weights(Parameters& parameters, const CheckpointReader& weights);
inline void load_weights(Onevision& model, const CheckpointReader& weights) {
  load_weights(model.parameters(), weights);
}
// config.json, generation_config.json, model*.safetensors into an existing directory. `eos` and `pad` are token ids.
void write_model(const std::string& directory, const Onevision& model, const std::vector<std::int64_t>& eos,
                 std::int64_t pad);

std::vector<NamedShape> expected_names(const Parameters& parameters);
inline std::vector<NamedShape> expected_names(const Onevision& model) { return expected_names(model.parameters()); }

}  // namespace ov
