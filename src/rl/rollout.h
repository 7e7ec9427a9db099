// Rollouts: several answers to each prompt, drawn from the model as it is (temperature 1, nothing cut off), and what
// they earn. The rollouts of one prompt share its whole pages (64 tokens) and its pictures in the engine.
//
// A draw is keyed by seed, the answer's number and the token's place, so what runs beside it changes no bit, and an
// answer that was broken off goes on as it would have. Placeholders of pictures and videos are never drawn: nothing
// would stand there. Log-probabilities are those of the model itself.
#pragma once
#include <functional>
#include <map>

#include "generate/engine.h"
#include "rl/records.h"
#include "rl/reward.h"

namespace ov::rl {

struct Rollout {
  std::vector<std::int64_t> ids;       // with what ended it
  std::vector<double> logprobs;        // of the sampler, when each was drawn
  std::vector<std::int64_t> versions;  // of the weights that drew each: updates before it
  bool stopped = false;                // by itself, not by its length
  bool finished = false;
  bool scored = false;
  Reward reward = {};
};
Json json_of(
    const Rollout& rollout);  // ids, log-probabilities, versions, how it ended; what it earned, if that is known
Rollout rollout_of(const Json& json);

// The rollouts of one prompt.
struct Group {
  const Record* record = nullptr;
  std::int64_t number = 0;  // in the order in which groups are begun
  std::uint64_t seed = 0;
  Prompt prompt = {};
  std::vector<Rollout> rollouts = {};

  bool finished() const;
};

struct RolloutOptions {
  std::int64_t group = 16, max_new_tokens = 4096, max_running = 64;
  PromptStyle style = PromptStyle::released;
  std::vector<std::int64_t> stop = {};
  // What a finished answer's text earns, in place of rl/reward.h: for who calls the library with a reward of its own.
  std::function<Reward(const std::string& text, const Group& group)> reward = nullptr;
};

struct RolloutCounts {
  // Of prompts: tokens read, and those that others of the group had read; tokens written; multiply-adds of both.
  std::int64_t prompt_tokens = 0, shared_tokens = 0, new_tokens = 0, products = 0;
  std::int64_t raised = 0;  // verifiers that gave up: reward 0
  std::map<std::string, std::int64_t> raised_of = {};

  void add(const EngineStats& of);
  // Those four as they travel between ranks.
  Json written() const;
  void add_written(const Json& of_a_rank);
};

// Writes the rollouts of groups with the weights as they are. Groups may be added between passes; what is unfinished
// when the writer goes has its tokens so far, and another writer may go on.
class RolloutWriter {
 public:
  // version: stamped on every token that it draws.
  RolloutWriter(const Onevision& model, const RolloutOptions& options, std::int64_t version);
  // The group stays where it is as long as the writer lives. most: how many tokens each of its rollouts gets at most,
  // fewer than there are rollouts: the others as many as they may have. One that ends there is not finished.
  void add(Group& group, std::span<const std::int64_t> most = {});
  bool step();  // one pass of the engine; false: nothing left to do. Throws what a pass throws
  EngineStats stats() const { return engine_.stats(); }

 private:
  RolloutOptions options_;
  std::int64_t version_;
  Sampling sampling_;
  std::exception_ptr error_;
  Engine engine_;  // last: its end calls back
};

// Prompts of groups, several at once. grey, from 0 to 255: in place of every pixel.
void make_prompts(std::span<Group* const> groups, const RecordFile& records, const Processor& processor,
                  PromptStyle style, const PixelLimits& limits, int grey = -1);
// What the rollouts of a finished group earn, those that have no reward yet.
void score(Group& group, const Tokenizer& tokenizer, const RolloutOptions& options, RolloutCounts& counts);

}  // namespace ov::rl
