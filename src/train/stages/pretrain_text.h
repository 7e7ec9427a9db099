// Pre-training of the decoder on text: `pretrain --what text`.
//
// The whole model is built, so that the result is a directory like any other, but only the decoder is trained; tower
// and merger keep their first values, and no picture passes through them.
#pragma once
#include <string>

#include "data/raw/text_corpus.h"
#include "nn/init.h"
#include "train/stages/job.h"

namespace ov {

struct TextPretraining : RunOptions {  // leaves out/model, a complete Hugging Face directory
  std::string model_dir;               // to start from; "": the model below, freshly initialised
  ModelConfig model;                   // vocabulary 0: as many rows as the tokenizer has tokens
  InitOptions init;
  std::uint64_t init_seed = 1;
  std::string tokenizer_dir;  // of a fresh model; one with model_dir has its own
  TextCorpusOptions corpus;
  LoaderOptions data;  // samples and micro-batches a step, seed, rejects
  TrainOptions train;  // its modules are set to the language model
  Dtype dtype = Dtype::f32;
  bool recompute = false;
  std::int64_t recompute_first = every_block;  // of the blocks, when `recompute`
  ChooseRecompute choose_recompute = nullptr;  // in their place, where it is given
};

// Returns the last step's report. The trained model stands in out/model when it returns.
StepReport pretrain_text(const TextPretraining& options);

// A description completed by a tokenizer: its special tokens, its number of tokens where vocabulary is 0. Throws
// input_error when the tokenizer has more tokens than the description has rows, or lacks one of the format's.
ModelConfig with_tokenizer(ModelConfig described, const Tokenizer& tokenizer, const std::string& directory);
// A tokenizer and how this model cuts pictures: limits and normalisation as Qwen2-VL's processor.
Processor described_processor(const ModelConfig& model, const Tokenizer& tokenizer);

}  // namespace ov
