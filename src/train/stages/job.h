// A training run from directory to directory: the `train` verb.
#pragma once
#include <string>

#include "data/load/loader.h"
#include "data/load/packed_loader.h"
#include "model/files/hf_directory.h"
#include "model/files/model_card.h"
#include "train/objectives/language.h"
#include "train/run_loop.h"

namespace ov {

// How many of a model's blocks this rank recomputes so that a step like the run's first one fits
// (audit/plan_device.h). Of all ranks the most are recomputed on each. A resumed run chooses anew, from the same step:
// the bits do not depend on it.
using ChooseRecompute = std::function<std::int64_t(const ModelConfig& model, const GlobalStep& first)>;

struct TrainJob : RunOptions {  // leaves out/model, the trained HF directory; with LoRA out/adapter too (PEFT's form)
  std::string model_dir;        // HF directory to start from: config, weights, tokenizer, image processor
  LoaderOptions data;           // a conversation file, or
  PackedLoaderOptions packs;    // an index of packs, when its `index` is set
  TrainOptions train;
  Dtype dtype = Dtype::f32;
  std::string reference = "hf";
  bool hf_shift_bug = false;
  double pre_norm_eps = 0, merger_norm_eps = 0;  // 0: the reference's
  bool recompute = false;
  std::int64_t recompute_first = every_block;  // of the blocks, when `recompute`
  ChooseRecompute choose_recompute = nullptr;  // in their place, where it is given
  bool untied_head = false;                    // ExportOptions
  LoraOptions lora;                            // its `where` is set from train.modules
  bool merged_model = true;                    // with LoRA: out/model is written, with the adapter in its weights
};

// Returns the last step's report. The trained model stands in out/model when it returns.
StepReport run_training(const TrainJob& job);

struct ExportOptions {
  std::string command = "train";  // who writes it (base/io/durable_directory.h)
  // Directories that it was made from, "" is none: *.py of whole models and licences go with it.
  std::vector<std::string> code = {};
  bool untied_head = false;        // a tied model is written with a copy of the embedding for a head
  Dtype dtype = Dtype::f32;        // write_model (model/files/hf_directory.h)
  CardFacts card = {};             // its model and sources are filled in
  WeightSource weights = nullptr;  // as write_model
  std::function<void(const std::string& directory)> check = nullptr;  // may refuse what is written, before it is there
};

// Writes a complete HF directory, durably: weights, config.json, generation_config.json, tokenizer and processor files,
// and then a model card, which is not among what DONE lists: people may write a better one.
// Its chat template puts a line end after a picture: what this program trains on has it there.
void export_model(const std::string& directory, const Onevision& model, Processor processor,
                  const ExportOptions& options = {});
// What a card says of a tower.
Json tower_facts(const VisionConfig& vision);
// Asks `choose`, if there is one, on every rank; the answer is set in the model and noted among the counts.
void choose_recompute(const ChooseRecompute& choose, Communicator& ranks, const StepLoader& steps, Onevision& model,
                      Json& counts);
// What a run says about itself on the cards of what it leaves.
CardFacts run_card(const RunOptions& options, const RunFacts& facts);
// Of the tokenizer and of how pictures are cut and normalised: what a resumed run must find as it was.
std::string processor_fingerprint(const Processor& processor);
// Of what config.json says about the arithmetic, for the same reason.
std::string model_fingerprint(ModelConfig config);

}  // namespace ov
