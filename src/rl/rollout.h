// Rollouts: several answers to each prompt, drawn from the model as it is (temperature 1, nothing cut off), and what
// they earn. The rollouts of one prompt share its whole pages (64 tokens) and its pictures in the engine.
//
// A draw is keyed by seed, the answer's number and the token's place, so what runs beside it changes no bit.
// Placeholders of pictures and videos are never drawn: nothing would stand there. Log-probabilities are those of the
// model itself.
#pragma once
#include <map>

#include "generate/engine.h"
#include "rl/records.h"
#include "rl/reward.h"

namespace ov::rl {

struct Rollout {
  std::vector<std::int64_t> ids;  // with what ended it
  std::vector<double> logprobs;   // of the sampler, when each was drawn
  bool stopped = false;           // by itself, not by its length
  Reward reward = {};
};

struct RolloutOptions {
  std::int64_t group = 16, max_new_tokens = 4096, max_running = 64;
  PromptStyle style = PromptStyle::released;
  std::vector<std::int64_t> stop = {};
};

struct Asked {
  const Record* record;
  const Prompt* prompt;
  std::uint64_t seed;
};

struct RolloutCounts {
  std::int64_t prompt_tokens = 0, shared_tokens = 0, new_tokens = 0;
  std::int64_t raised = 0;  // verifiers that gave up: reward 0
  std::map<std::string, std::int64_t> raised_of = {};
};

// [prompts][group]. Throws what a pass throws.
std::vector<std::vector<Rollout>> roll_out(const Onevision& model, const Tokenizer& tokenizer,
                                           std::span<const Asked> prompts, const RolloutOptions& options,
                                           RolloutCounts* counts = nullptr);

// What a completion earns for a record; with its special tokens, as the original decodes it.
Reward score(const Tokenizer& tokenizer, const Record& record, const Rollout& rollout, PromptStyle style,
             bool problem_type = true);

}  // namespace ov::rl
