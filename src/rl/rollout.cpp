#include "rl/rollout.h"

#include <algorithm>

#include "base/parallel.h"
#include "generate/generate.h"

namespace ov::rl {

bool Group::finished() const {
  return std::all_of(rollouts.begin(), rollouts.end(), [](const Rollout& r) { return r.finished; });
}

Json json_of(const Rollout& r) {
  Json out = Json::object({{"ids", r.ids},
                           {"logprobs", r.logprobs},
                           {"versions", r.versions},
                           {"stopped", r.stopped},
                           {"finished", r.finished}});
  if (r.scored)
    out.set("reward",
            Json::object({{"reward", r.reward.reward}, {"accuracy", r.reward.accuracy}, {"raised", r.reward.raised}}));
  return out;
}

Rollout rollout_of(const Json& json) {
  const auto integers = [](const Json& list) {
    std::vector<std::int64_t> out;
    for (const Json& v : list.items()) out.push_back(v.as_int());
    return out;
  };
  Rollout r;
  r.ids = integers(json.at("ids")), r.versions = integers(json.at("versions"));
  for (const Json& p : json.at("logprobs").items()) r.logprobs.push_back(p.as_double());
  r.stopped = json.at("stopped").as_bool(), r.finished = json.at("finished").as_bool();
  if (const Json* reward = json.find("reward")) {
    r.scored = true;
    r.reward.reward = reward->at("reward").as_double(), r.reward.accuracy = reward->at("accuracy").as_double();
    r.reward.raised = reward->at("raised").as_string();
  }
  return r;
}

void RolloutCounts::add(const EngineStats& of) {
  prompt_tokens += of.prompt_tokens, shared_tokens += of.shared_tokens;
  new_tokens += of.new_tokens, products += of.products;
}

Json RolloutCounts::written() const {
  return std::vector<std::int64_t>{prompt_tokens, shared_tokens, new_tokens, products};
}

void RolloutCounts::add_written(const Json& of_a_rank) {
  std::size_t i = 0;
  for (std::int64_t* n : {&prompt_tokens, &shared_tokens, &new_tokens, &products}) *n += of_a_rank[i++].as_int();
}

RolloutWriter::RolloutWriter(const Onevision& model, const RolloutOptions& options, std::int64_t version)
    : options_(options),
      version_(version),
      sampling_{.temperature = 1, .top_logprobs = 0},
      engine_(model, {.max_running = options.max_running, .count_products = true}) {
  const ModelConfig& config = model.config();
  for (const std::int64_t id : {config.image_token, config.video_token})
    if (id >= 0 && id < config.text.vocabulary) sampling_.logit_bias.emplace_back(id, -1e300);
}

void RolloutWriter::add(Group& group, std::span<const std::int64_t> most) {
  group.rollouts.resize(static_cast<std::size_t>(options_.group));
  std::vector<Grid> grids;
  for (const auto& g : group.prompt.grids) grids.push_back({g[0], g[1], g[2]});
  sampling_.seed = group.seed;
  for (std::size_t i = 0; i < group.rollouts.size(); ++i) {
    Rollout& r = group.rollouts[i];
    const std::int64_t left = options_.max_new_tokens - std::ssize(r.ids), now = i < most.size() ? most[i] : left;
    if (r.finished || now == 0) continue;
    sampling_.choice = i;
    std::vector<std::int64_t> ids = group.prompt.input_ids;
    ids.insert(ids.end(), r.ids.begin(), r.ids.end());
    try {
      engine_.submit({.prompt = std::move(ids),
                      .written = std::ssize(r.ids),
                      .pictures = split_pictures(group.prompt.pixel_values, grids),
                      .sampling = sampling_,
                      .max_new_tokens = std::min(now, left),
                      .stop = options_.stop,
                      .token =
                          [this, &r](const Token& t) {
                            r.ids.push_back(t.id), r.logprobs.push_back(t.logprob), r.versions.push_back(version_);
                            return true;
                          },
                      .done =
                          [this, &r, whole = now >= left](const Finish& f) {
                            r.stopped = f.why == Ended::stop;
                            r.finished = f.why == Ended::stop || (f.why == Ended::length && whole);
                            if (f.error && !error_) error_ = f.error;
                          }});
    } catch (const Error& e) { throw Error(e.exit(), cat(group.record->where, ": ", e.what())); }
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

void score(Group& group, const Tokenizer& tokenizer, const RolloutOptions& options, RolloutCounts& counts) {
  for (Rollout& r : group.rollouts) {
    if (r.scored) continue;
    r.scored = true;
    std::string text = tokenizer.decode(r.ids, false);  // with its special tokens, as the original decodes it
    if (options.style == PromptStyle::plain && !last_answer(python::text(text))) {
      const std::span<const std::int64_t> ids = r.ids;
      text = "<answer>" + tokenizer.decode(ids.first(ids.size() - r.stopped), false) + "</answer>";
    }
    r.reward = options.reward
                   ? options.reward(text, group)
                   : reward(text, group.record->answer, group.record->answer_type, group.record->problem_type);
  }
  for (const Rollout& r : group.rollouts)
    if (!r.reward.raised.empty()) ++counts.raised, ++counts.raised_of[r.reward.raised];
}

}  // namespace ov::rl
