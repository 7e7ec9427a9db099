// Models in and out of Hugging Face directories: config.json, generation_config.json and the weights. Tokenizer and
// image processor files are the matter of export_model (train/stages/job.h).
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
  std::string segments = "reference";            // or per_frame, per_grid_row
  Device* device = &cpu();
  Communicator* tensor = &one_rank();  // the ranks that hold it together: each reads its part (parallel/tensor.h)
  Communicator* pipe = &one_rank();    // and its layers, in as many chunks a rank (parallel/pipeline.h)
  int chunks = 1;
  Communicator* experts = &one_rank();  // those that share its experts (parallel/expert.h)
  std::string adapter = {};             // directory of a LoRA adapter that is added to the weights (model/files/lora.h)
  LoraOptions lora = {};                // what is learnt beside them
  bool in_place = false;  // to be read alone: no copy of what lies in the file as it is needed (Parameters::borrow)
};

bool equal_bits(const Tensor& a, const Tensor& b);  // wherever they lie; shape and type too

// config.json as it stands; auto_map only when the directory has the code that it names (*.py), or it names a hub's.
Json read_config_json(const std::string& directory);
bool is_whole_model(const std::string& directory);  // has both parts in config.json; false for ""
// *.py of a whole model, which auto_map names, into an existing directory.
void copy_code(const std::string& from, const std::string& to);

ModelConfig read_model_config(const std::string& directory, const LoadOptions& options = {});
// Missing, extra and misshapen tensors are refused by name. Without an lm_head in the file the head is the embedding,
// whatever config.json says about tying. With one, config.json must not tie it: Transformers would then drop it, which
// changes nothing if it has the embedding's bits, and is refused if not.
std::unique_ptr<Onevision> load_model(ModelConfig config, const std::string& directory,
                                      const LoadOptions& options = {});
inline std::unique_ptr<Onevision> load_model(const std::string& directory, const LoadOptions& options = {}) {
  return load_model(read_model_config(directory, options), directory, options);
}
// Integers are no weights and refused.
void check_weight(const std::string& where, const std::string& name, Dtype dtype);
// A tensor of a file, widened or narrowed.
void copy_weight(const std::string& where, const std::string& name, const Tensor& from, const Tensor& to);
// Only the weights, and what is learnt beside them, into a model that is allocated: values, and the masters that there
// are.
void load_weights(Parameters& parameters, const CheckpointReader& weights);
// Once more, into the masters, if there are any, of a model that was loaded from there, whose values have lost digits
// of it.
void load_masters(Onevision& model, const std::string& directory);
// config.json, generation_config.json, model*.safetensors into an existing directory; what LoRA learnt is added. `eos`
// and `pad` are token ids. untied_head: a tied model is written with a head of its own, the embedding's copy, as NeMo
// AutoModel wants it. dtype: bf16, or f32: masters where there are some (f64 stays f64). weights: where the tensors
// come from, one at a time, when it is not the model, which then has shapes alone.
using WeightSource = std::function<Tensor(const Parameter&)>;
void write_model(const std::string& directory, const Onevision& model, const std::vector<std::int64_t>& eos,
                 std::int64_t pad, bool untied_head = false, Dtype dtype = Dtype::f32,
                 const WeightSource& weights = nullptr);
Dtype written_dtype(const Parameters& parameters, Dtype dtype);

// lora: also what is learnt beside the matrices, which no model's file holds.
std::vector<NamedShape> expected_names(const Parameters& parameters, bool lora = false);
inline std::vector<NamedShape> expected_names(const Onevision& model) { return expected_names(model.parameters()); }
// What a file may hold of this model: a tied one may bring the embedding's copy as its head.
std::vector<NamedShape> expected_names(const Onevision& model, const CheckpointReader& weights);
// Settles text.tied as load_model says; what is wrong with it, or "".
std::string tie_to_weights(TextConfig& text, const CheckpointReader& weights, const std::string& directory);

}  // namespace ov
