// Pre-training of the vision tower by region cluster discrimination: `pretrain --what vision`.
//
// From a file of annotated pictures (data/regions.h) to a tower (model/region_head.h, export_tower).
#pragma once
#include <string>

#include "nn/init.h"
#include "train/region_trainer.h"

namespace ov {

struct VisionPretraining {
  std::string out;  // run.jsonl, rejects.jsonl, checkpoints/, tower/ (export_tower)
  RegionLoaderOptions data;
  VisionConfig vision;
  RegionHeadConfig head;  // classes and characters come from the data
  InitOptions init;       // embedding_std is that of the class centres; the public code has 0.01
  std::uint64_t init_seed = 1;
  RegionTrainOptions train;
  Dtype dtype = Dtype::f32;
  std::int64_t save_every = 0;  // steps; 0: at the end only
  std::int64_t keep = 2;        // checkpoints
  bool resume = true;           // from the newest checkpoint in out, if there is one
  std::int64_t log_every = 1;   // steps
  Json config;                  // the whole configuration, for the log and the checkpoint
};

// Returns the last step's report. The trained tower stands in out/tower when it returns.
RegionStepReport pretrain_vision(const VisionPretraining& options);

}  // namespace ov
