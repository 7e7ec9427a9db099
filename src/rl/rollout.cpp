#include "rl/rollout.h"

#include <algorithm>

#include "base/parallel.h"
#include "generate/generate.h"

namespace ov::rl {

bool Group::finished() const {
  return std::all_of(rollouts.begin(), rollouts.end(), [](const Rollout& r) { return r.finished; });
}

RolloutWriter::RolloutWriter(const Onevision& model, const RolloutOptions& options, std::int64_t version)
    : options_(options),
      version_(version),
      sampling_{.temperature = 1, .top_logprobs = 0},
      engine_(model, {.max_running = options.max_running}) {
  const ModelConfig& config = model.config();
  for (const std::int64_t id : {config.image_token, config.video_token})
    if (id >= 0 && id < config.text.vocabulary) sampling_.logit_bias.emplace_back(id, -1e300);
}

void RolloutWriter::add(Group& group) {
  group.rollouts.resize(static_cast<std::size_t>(options_.group));
  std::vector<Grid> grids;
  for (const auto& g : group.prompt.grids) grids.push_back({g[0], g[1], g[2]});
  sampling_.seed = group.seed;
  for (std::size_t i = 0; i < group.rollouts.size(); ++i) {
    Rollout& r = group.rollouts[i];
    if (r.finished) continue;
    sampling_.choice = i;
    std::vector<std::int64_t> ids = group.prompt.input_ids;
    ids.insert(ids.end(), r.ids.begin(), r.ids.end());
    engine_.submit({.prompt = std::move(ids),
                    .written = std::ssize(r.ids),
                    .pictures = split_pictures(group.prompt.pixel_values, grids),
                    .sampling = sampling_,
                    .max_new_tokens = options_.max_new_tokens - std::ssize(r.ids),
                    .stop = options_.stop,
                    .token =
                        [this, &r](const Token& t) {
                          r.ids.push_back(t.id), r.logprobs.push_back(t.logprob), r.versions.push_back(version_);
                          return true;
                        },
                    .done =
                        [this, &r](const Finish& f) {
                          r.stopped = f.why == Ended::stop;
                          r.finished = f.why == Ended::stop || f.why == Ended::length;
                          if (f.error && !error_) error_ = f.error;
                        }});
  }
}

bool RolloutWriter::step() {
  const bool more = engine_.step();
  if (error_) std::rethrow_exception(error_);
  return more;
}

void make_prompts(std::span<Group* const> groups, const RecordFile& records, const Processor& processor,
                  PromptStyle style, const PixelLimits& limits, int grey) {
  parallel_for(std::ssize(groups), [&](std::int64_t i) {
    Group& g = *groups[static_cast<std::size_t>(i)];
    std::vector<Image> pictures = records.pictures(*g.record);
    if (grey >= 0)
      for (Image& p : pictures) std::fill(p.rgb.begin(), p.rgb.end(), static_cast<std::uint8_t>(grey));
    g.prompt = make_prompt(*g.record, std::move(pictures), processor, style, limits);
  });
}

void score(Group& group, const Tokenizer& tokenizer, PromptStyle style, RolloutCounts& counts) {
  for (Rollout& r : group.rollouts) {
    std::string text = tokenizer.decode(r.ids, false);  // with its special tokens, as the original decodes it
    if (style == PromptStyle::plain && !last_answer(decode(text))) {
      const std::span<const std::int64_t> ids = r.ids;
      text = "<answer>" + tokenizer.decode(ids.first(ids.size() - r.stopped), false) + "</answer>";
    }
    r.reward = reward(text, group.record->answer, group.record->answer_type, group.record->problem_type);
    if (!r.reward.raised.empty()) ++counts.raised, ++counts.raised_of[r.reward.raised];
  }
}

}  // namespace ov::rl
