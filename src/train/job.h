// A training run from directory to directory: the `train` verb, and the loop that every run of a Trainer shares.
#pragma once
#include <functional>
#include <string>

#include "data/loader.h"
#include "data/pack/packed_loader.h"
#include "train/trainer.h"

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

// The loop by itself: goes on from the newest checkpoint in `out`, if there is one, to the trainer's last step; writes
// out/run.jsonl and out/checkpoints/ on the way and shows its progress.
struct RunOptions {
  std::string out, name = "train";  // `name` stands before the progress bar
  std::int64_t save_every = 0, keep = 2, log_every = 1;
  bool resume = true;
  Json about;  // for the log's first line and the checkpoints: configuration, counts
};
// `finish`, called behind the last step, exports what was trained and returns the members of the log's last line.
StepReport run_to_end(Trainer& trainer, const RunOptions& options, const std::function<Json()>& finish);

// Writes a complete HF directory, durably: weights, config.json, generation_config.json, tokenizer and processor files.
void export_model(const std::string& directory, const Onevision& model, const Processor& processor);

}  // namespace ov
