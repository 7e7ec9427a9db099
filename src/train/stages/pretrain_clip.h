// Pre-training of CLIP on pictures with captions: `pretrain --what clip`.
#pragma once
#include <string>

#include "data/load/loader.h"
#include "train/objectives/contrastive.h"
#include "train/run_loop.h"

namespace ov {

struct ClipPretraining : RunOptions {  // leaves out/model, a Hugging Face directory of a CLIPModel
  std::string captions, image_dir;     // data/raw/captioned_pictures.h
  std::string manifest;                // which of them; "": all
  std::string tokenizer_dir;
  ClipConfig model;  // vocabulary 0: as many rows as the tokenizer has tokens; eos: the tokenizer's <|endoftext|>
  InitOptions init;
  std::uint64_t init_seed = 1;
  LoaderOptions data;  // samples of a micro-batch, which meet each other, and micro-batches of a step, seed, rejects
  ContrastiveOptions train;
  Dtype dtype = Dtype::f32;
};

// Returns the last step's report. The trained model stands in out/model when it returns.
StepReport pretrain_clip(const ClipPretraining& options);

}  // namespace ov
