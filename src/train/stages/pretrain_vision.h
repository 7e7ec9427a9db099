// Pre-training of the vision tower by region cluster discrimination: `pretrain --what vision`.
//
// From a file of annotated pictures (data/raw/regions.h) to a tower (model/region_head.h, export_tower).
#pragma once
#include <string>

#include "nn/init.h"
#include "train/objectives/region.h"
#include "train/run_loop.h"

namespace ov {

struct VisionPretraining : RunOptions {  // leaves out/tower (export_tower)
  RegionLoaderOptions data;
  VisionConfig vision;
  RegionHeadConfig head;  // classes and characters come from the data
  InitOptions init;       // embedding_std is that of the class centres; the public code has 0.01
  std::uint64_t init_seed = 1;
  RegionTrainOptions train;
  bool recompute = false;
  std::int64_t recompute_first = every_block;  // of the blocks, when `recompute`
  Dtype dtype = Dtype::f32;
};

// Returns the last step's report. The trained tower stands in out/tower when it returns.
StepReport pretrain_vision(const VisionPretraining& options);

}  // namespace ov
