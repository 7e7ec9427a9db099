#include "rl/rollout.h"

#include "generate/generate.h"

namespace ov::rl {

Reward score(const Tokenizer& tokenizer, const Record& record, const Rollout& rollout, PromptStyle style,
             bool problem_type) {
  std::string text = tokenizer.decode(rollout.ids, false);
  if (style == PromptStyle::plain && !last_answer(decode(text))) {
    const std::span<const std::int64_t> ids = rollout.ids;
    text = "<answer>" + tokenizer.decode(ids.first(ids.size() - rollout.stopped), false) + "</answer>";
  }
  return reward(text, record.answer, record.answer_type, problem_type ? record.problem_type : "");
}

std::vector<std::vector<Rollout>> roll_out(const Onevision& model, const Tokenizer& tokenizer,
                                           std::span<const Asked> prompts, const RolloutOptions& o,
                                           RolloutCounts* counts) {
  Engine engine(model, {.max_running = o.max_running});
  Sampling sampling{.temperature = 1, .top_logprobs = 0};
  const ModelConfig& config = model.config();
  for (const std::int64_t id : {config.image_token, config.video_token})
    if (id >= 0 && id < config.text.vocabulary) sampling.logit_bias.emplace_back(id, -1e300);
  std::vector<std::vector<Rollout>> out(prompts.size(), std::vector<Rollout>(static_cast<std::size_t>(o.group)));
  std::exception_ptr error;
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const Prompt& prompt = *prompts[p].prompt;
    std::vector<Grid> grids;
    for (const auto& g : prompt.grids) grids.push_back({g[0], g[1], g[2]});
    for (std::size_t i = 0; i < out[p].size(); ++i) {
      sampling.seed = prompts[p].seed, sampling.choice = i;
      Rollout& r = out[p][i];
      engine.submit({.prompt = prompt.input_ids,
                     .pictures = split_pictures(prompt.pixel_values, grids),
                     .sampling = sampling,
                     .max_new_tokens = o.max_new_tokens,
                     .stop = o.stop,
                     .token =
                         [&r](const Token& t) {
                           r.ids.push_back(t.id), r.logprobs.push_back(t.logprob);
                           return true;
                         },
                     .done =
                         [&r, &error](const Finish& f) {
                           r.stopped = f.why == Ended::stop;
                           if (f.error && !error) error = f.error;
                         }});
    }
  }
  engine.run();
  if (error) std::rethrow_exception(error);
  RolloutCounts own;
  for (std::size_t p = 0; p < prompts.size(); ++p)
    for (Rollout& r : out[p]) {
      r.reward = score(tokenizer, *prompts[p].record, r, o.style);
      if (!r.reward.raised.empty()) ++own.raised, ++own.raised_of[r.reward.raised];
    }
  const EngineStats stats = engine.stats();
  own.prompt_tokens = stats.prompt_tokens, own.shared_tokens = stats.shared_tokens, own.new_tokens = stats.new_tokens;
  if (counts) *counts = own;
  return out;
}

}  // namespace ov::rl
