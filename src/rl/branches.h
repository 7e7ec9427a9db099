// Answers to one prompt as one row: what both objectives of this folder train on.
//
//   prefix      the prompt without its last token, pictures included, once
//   branch k    the prompt's last token, which predicts the answer's first, and the answer without its last
//
// Every branch attends to the prefix and to itself; its positions go on from the prefix's end.
#pragma once
#include "data/batch.h"
#include "data/sample/processor.h"
#include "model/onevision.h"

namespace ov::rl {

struct Branches {
  MicroBatch batch = {};
  std::vector<std::int64_t> rows = {}, targets = {};  // of the answers' tokens: what predicts each, and what it is
  std::vector<std::int64_t> starts = {0};             // of the answers among them, and the end

  Branches() = default;
  explicit Branches(const Prompt& prompt);
  void add(const Prompt& prompt, const std::vector<std::int64_t>& answer);  // of at least one token
};

// [rows, V], on a tape or without one.
Var branch_logits(const Onevision& model, Tape* tape, const Branches& branches);
// Log-probabilities of the targets, in f64 [rows]; entropies, if asked for, of their distributions.
std::vector<double> branch_logprobs(const Branches& branches, const Tensor& logits,
                                    std::vector<double>* entropies = nullptr);

}  // namespace ov::rl
