// A training run from directory to directory: the `train` verb.
#pragma once
#include <string>

#include "data/load/loader.h"
#include "data/load/packed_loader.h"
#include "train/run_loop.h"

namespace ov {

struct TrainJob : RunOptions {  // leaves out/model, the trained HF directory
  std::string model_dir;        // HF directory to start from: config, weights, tokenizer, image processor
  LoaderOptions data;           // a conversation file, or
  PackedLoaderOptions packs;    // an index of packs, when its `index` is set
  TrainOptions train;
  Dtype dtype = Dtype::f32;
  std::string reference = "hf";
  bool hf_shift_bug = false;
  bool recompute = false;
};

// Returns the last step's report. The trained model stands in out/model when it returns.
StepReport run_training(const TrainJob& job);

// Writes a complete HF directory, durably: weights, config.json, generation_config.json, tokenizer and processor files.
// `command`: who writes it (base/io/durable_directory.h).
void export_model(const std::string& directory, const Onevision& model, const Processor& processor,
                  const std::string& command = "train");
// Of the tokenizer and of how pictures are cut and normalised: what a resumed run must find as it was.
std::string processor_fingerprint(const Processor& processor);

}  // namespace ov
