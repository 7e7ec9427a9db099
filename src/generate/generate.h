// One answer: the engine with a single request, and its two halves for those who choose ids themselves.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "generate/engine.h"

namespace ov {

struct GenerateOptions {
  std::int64_t max_new_tokens = 128;
  std::vector<std::int64_t> stop = {};  // ids that end the answer; the one that came is part of the result
  Sampling sampling = {};
};

// `prompt`: ids with one image placeholder for each merged patch; pixel_values [P, 3·14·14] of any floating dtype,
// null without pictures. The vision tower runs once. Of equal logits the lowest id wins. `callback`, if given, sees
// each id as it comes and returns whether to go on.
//
// The logits of a cached step are those of the whole row run again without a cache, bit for bit: a query's bits depend
// on its visible keys alone (kernels/attention.h).
//
// Errors: input_error for an empty prompt, placeholders that do not match the pictures, ids outside the vocabulary,
// more tokens than the model has positions; machine_error for logits that are not finite numbers.
std::vector<std::int64_t> generate(const Onevision& model, const std::vector<std::int64_t>& prompt,
                                   const Tensor& pixel_values, const std::vector<Grid>& grids,
                                   const GenerateOptions& options,
                                   const std::function<bool(std::int64_t id)>& callback = nullptr);
// A request's pictures, of patches that lie one below the other.
std::vector<Picture> split_pictures(const Tensor& pixel_values, const std::vector<Grid>& grids);

// The two halves of it, for those who look at logits or choose ids themselves.
class Generation {
 public:
  // Runs pictures and prompt; room for `max_new_tokens` more.
  Generation(const Onevision& model, const std::vector<std::int64_t>& prompt, const Tensor& pixel_values,
             const std::vector<Grid>& grids, std::int64_t max_new_tokens);
  Generation(const Onevision& model, const std::vector<std::int64_t>& prompt, const Var& features,
             std::int64_t max_new_tokens);
  const Tensor& logits() const { return logits_; }  // [1,V], of the token that comes next
  void append(std::int64_t id);                     // runs one more token

 private:
  const Onevision& model_;
  KvCache cache_;
  Tensor logits_;
};

std::int64_t greedy(const Tensor& logits);  // [1,V]: the largest, the lowest id of equals

// What ends an answer: eos_token_id (a number or a list) and pad_token_id of generation_config.json; where that lacks
// both, those of config.json, then `otherwise`, the tokenizer's. input_error: an id that is none of the
// vocabulary's, or no id at all.
std::vector<std::int64_t> read_stop_ids(const std::string& directory, const std::vector<std::int64_t>& otherwise,
                                        std::int64_t vocabulary);

// How a model's directory wants its answers drawn: temperature, top_k, top_p and repetition_penalty of
// generation_config.json where that says do_sample, else greedily. input_error: a value of another type or range.
Sampling read_sampling(const std::string& directory);

}  // namespace ov
