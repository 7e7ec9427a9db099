// A training run from directory to directory: the `train` verb.
#pragma once
#include <string>

#include "data/load/loader.h"
#include "data/load/packed_loader.h"
#include "train/run_loop.h"

namespace ov {

struct TrainJob {
  std::string model_dir;      // HF directory to start from: config, weights, tokenizer, image processor
  std::string out;            // run.jsonl, rejects.jsonl, checkpoints/, model/ (the trained HF directory)
  LoaderOptions data;         // a conversation file, or
  PackedLoaderOptions packs;  // an index of packs, when its `index` is set
  TrainOptions train;
  Dtype dtype = Dtype::f32;
  std::string reference = "hf";
  bool hf_shift_bug = false;
  bool recompute = false;
  std::int64_t save_every = 0;  // steps; 0: at the end only
  std::int64_t keep = 2;        // checkpoints
  bool resume = true;           // from the newest checkpoint in out, if there is one
  std::int64_t log_every = 1;   // steps
  Json config;                  // the whole configuration, for the log and the checkpoint
};

// Returns the last step's report. The trained model stands in out/model when it returns.
StepReport run_training(const TrainJob& job);

// Writes a complete HF directory, durably: weights, config.json, generation_config.json, tokenizer and processor files.
void export_model(const std::string& directory, const Onevision& model, const Processor& processor);

}  // namespace ov
