// `rl` and `rl-select`.
#include "rl/job.h"

#include <algorithm>
#include <cmath>
#include <iomanip>

#include "base/progress.h"
#include "cli/verbs.h"
#include "report/run_summary.h"
#include "report/selection_page.h"
#include "rl/paired.h"
#include "rl/select_run.h"

namespace ov::cli {
namespace {

rl::RolloutOptions rollout_options(const Config& config) {
  return {.group = config.integer("rl.group"),
          .max_new_tokens = config.integer("rl.max_new_tokens"),
          .max_running = config.integer("rl.max_running"),
          .style = config.text("rl.prompt") == "plain" ? rl::PromptStyle::plain : rl::PromptStyle::released};
}

rl::RewardBand band_of(const Config& config) {
  const rl::RewardBand band{config.number("rl.low"), config.number("rl.high")};
  if (band.low >= band.high)
    input_error("rl.low ", band.low, ", rl.high ", band.high, ": no mean reward is above the one and below the other");
  return band;
}

// What GRPO reads of them.
void read_policy(const Config& config, rl::PolicyOptions& policy) {
  const std::string& mode = config.text("rl.mode");
  policy.staleness = mode == "sync" || mode == "colocated-dp" ? 0 : config.integer("rl.staleness");
  if (mode == "timesliced") require_at_least(policy.staleness, 1, "rl.staleness with rl.mode timesliced");
  policy.most_groups = config.integer("rl.most_groups");
  policy.rollouts = rollout_options(config);
  policy.max_tokens = config.integer("train.max_tokens");
  policy.drop_flat = config.text("rl.flat_groups") == "drop";
  policy.shuffle_rewards = config.flag("rl.shuffle_rewards");
  policy.actor.eps = config.number("rl.clip_low");
  policy.actor.eps_high = config.number("rl.clip_high");
  policy.actor.behaviour_cap = config.number("rl.behaviour_cap");
  policy.limits = picture_options(config);
  if (config.text("rl.ratio") == "sequence") policy.actor.level = rl::RatioLevel::sequence;
  if (const double c = config.number("rl.dual_clip"); c > 0) policy.actor.dual_clip = c;
  rl::AdvantageOptions& a = policy.advantages;
  a.kl_ctl = config.number("rl.kl");
  if (a.kl_ctl > 0) {
    const std::string& k = config.text("rl.kl_estimator");
    a.kl_estimator = k == "k1" ? rl::Kl::k1 : k == "k2" ? rl::Kl::k2 : rl::Kl::k3;
  }
  if (const std::int64_t n = config.integer("rl.overlong_tokens"); n > 0) {
    if (n > policy.rollouts.max_new_tokens)
      input_error("rl.overlong_tokens ", n, ": an answer has at most ", policy.rollouts.max_new_tokens,
                  " tokens (rl.max_new_tokens)");
    a.overlong_tokens = n, a.overlong_factor = config.number("rl.overlong_factor");
  }
  a.mask_no_eos_with_zero = config.text("rl.no_eos") == "zero";
  const auto level = [&](const char* key) {
    const std::string& l = config.text(key);
    return l == "group" ? rl::Level::group : l == "batch" ? rl::Level::batch : rl::Level::none;
  };
  a.reward_norm->mean = level("rl.reward_mean"), a.reward_norm->std = level("rl.reward_std");
  a.reward_norm->leave_one_out = config.flag("rl.leave_one_out");
  a.adv_norm->mean = level("rl.advantage_mean"), a.adv_norm->std = level("rl.advantage_std");
}

void read_mode(const Config& config, rl::RlJob& job) {
  const std::string& mode = config.text("rl.mode");
  job.mode = mode == "sync"           ? rl::Mode::sync
             : mode == "timesliced"   ? rl::Mode::timesliced
             : mode == "colocated-dp" ? rl::Mode::colocated
                                      : rl::Mode::disaggregated;
  if (job.mode != rl::Mode::disaggregated) return;
  job.events = config.text("rl.events");
  job.generators = static_cast<int>(config.integer("rl.generators"));  // of no effect in a replay of the same command
}

rl::PreferenceRun preference_run(const Config& config, const rl::OrderOptions& order) {
  rl::PreferenceRun run{.order = order,
                        .loss = {.beta = config.number("rl.beta")},
                        .max_tokens = config.integer("train.max_tokens"),
                        .limits = picture_options(config)};
  if (config.text("rl.dpo_loss") == "ipo") run.loss.kind = rl::PreferenceOptions::Kind::ipo;
  else run.loss.label_smoothing = config.number("rl.label_smoothing");
  return run;
}

}  // namespace

Exit rl_train(const Config& config) {
  use_threads(config);
  rl::RlJob job;
  static_cast<RunOptions&>(job) = run_options(config);
  job.model_dir = config.required("model.dir");
  job.records = config.required("rl.data");
  job.image_dir = config.text("data.image_dir");
  job.templates = config.list("rl.templates");
  job.keep = config.text("rl.keep");
  rl::OrderOptions& order = job.policy.order;
  order.prompts = config.integer("rl.prompts");
  order.seed = static_cast<std::uint64_t>(config.integer("rl.seed"));
  order.by_picture = config.text("rl.order") == "pictures";
  order.replay = config.list("rl.replay");
  if (!order.replay.empty()) order.replay_share = config.number("rl.replay_share");
  if (!job.templates.empty()) job.templates.insert(job.templates.end(), order.replay.begin(), order.replay.end());
  if (config.text("rl.objective") == "dpo") job.preferences = preference_run(config, order);
  else read_policy(config, job.policy), read_mode(config, job);
  step_options(config, job.train);
  job.train.optimizer.visual_lr_scale = config.number("optimizer.lr_scale.visual");
  job.modules = config.list("train.modules");
  job.train_class_params = class_params_option(config);
  const Recompute again = stated_recompute(
      config,
      "rl learns from answers that nobody has written yet, of a length that nobody knows, beside what writes them; say "
      "true, or how many with train.recompute_blocks");
  job.recompute = again.on, job.recompute_first = again.first;
  job.load = {.dtype = dtype_option(config),
              .reference = config.text("numerics.reference"),
              .hf_shift_bug = config.flag("numerics.hf_shift_bug"),
              .pre_norm_eps = config.number("numerics.pre_norm_eps"),
              .merger_norm_eps = config.number("numerics.merger_norm_eps")};
  in_ranks(config, [&](Communicator& ranks) {
    config.refuse_unread("with this rl.objective, rl.mode and rl.replay");
    set_ranks(config, ranks, job);
    run_rl(job);
  });
  return Exit::done;
}

Exit rl_select(const Config& config) {
  use_threads(config);
  rl::SelectionRun run;
  run.model_dir = config.required("model.dir");
  run.records = config.required("rl.data");
  run.image_dir = config.text("data.image_dir");
  run.templates = config.list("rl.templates");
  run.out = config.required("out");
  run.at_a_time = config.integer("rl.prompts");
  run.rollouts = rollout_options(config);
  run.seed = static_cast<std::uint64_t>(config.integer("rl.seed"));
  run.limits = picture_options(config);
  run.load = load_options(config);
  if (config.flag("rl.blind")) run.grey = static_cast<int>(config.integer("rl.grey"));
  rl::SelectionOptions& s = run.selection;
  s.pass_reward = config.number("rl.pass_reward");
  s.task_filter = config.flag("rl.task_filter");
  s.gap = config.number("rl.gap"), s.least_pass = config.number("rl.least_pass");
  const std::string& filter = config.text("rl.reward_filter");
  s.reward_filter = filter != "off", s.released_bands = filter == "released";
  if (filter == "band") s.band = band_of(config);
  config.refuse_unread("with this rl.reward_filter and rl.blind");
  std::optional<Progress> bar;
  run.progress = [&](std::int64_t done, std::int64_t total) {
    if (!bar) bar.emplace("rl-select", total, "record");
    bar->update(done);
  };
  const rl::Selection selection = run_selection(run);
  if (bar) bar->finish();
  write_selection_page(run.out + "/page.html", selection.manifest);
  const auto table = [](const char* what, const std::map<std::string, rl::PassRates>& all) {
    print(cat(std::left, std::setw(20), what, "  records  pass@1  pass@n     gap    mean  blind: pass@1  pass@n\n"));
    for (const auto& [name, p] : all) {
      print(cat(std::left, std::setw(20), name, std::right, std::fixed, std::setprecision(1), std::setw(9), p.records));
      for (const double share : {p.pass_1, p.pass_n, p.pass_n - p.pass_1, p.mean_reward})
        print(cat(std::fixed, std::setprecision(1), std::setw(8), 100 * share));
      if (!std::isnan(p.blind_1))
        print(cat(std::fixed, std::setprecision(1), std::setw(15), 100 * p.blind_1, std::setw(8), 100 * p.blind_n));
      print("\n");
    }
  };
  table("source", selection.by_source);
  table("template", selection.by_group);
  print(latent_note(selection.manifest) + "\n");
  for (const auto& [reason, n] : selection.raised)
    print(cat("0 for ", n, " rollouts that the verifier gave up: ", reason, "\n"));
  print(cat(selection.kept.size(), " of ", selection.reasons.size(), " records kept\n"));
  if (selection.kept.empty()) {  // nothing that `rl` could take
    std::string why;
    for (const auto& [reason, n] : selection.dropped) why += cat(why.empty() ? "" : ", ", reason, " (", n, ")");
    const bool none = std::all_of(selection.by_source.begin(), selection.by_source.end(),
                                  [](const auto& source) { return source.second.mean_reward == 0; });
    input_error(
        run.out, "/kept.jsonl: no record is kept: ", why,
        "; rl.task_filter and rl.reward_filter say what is, and manifest.json what each source earned",
        none ? "; none earned anything: rl.prompt asks for the release's form, or plain, as the problem is" : "");
  }
  return Exit::done;
}

Exit rl_table(const Config& config) {
  const auto rows = rl::paired_scores(config.list("rl.before"), config.list("rl.after"));
  print("                                          questions  before   after    change  standard error\n");
  for (const auto& [name, p] : rows)
    print(cat(std::left, std::setw(42), name, std::right, std::setw(9), p.questions, std::fixed, std::setprecision(1),
              std::setw(8), 100 * p.before, std::setw(8), 100 * p.after, std::showpos, std::setw(10),
              100 * (p.after - p.before), std::noshowpos, std::setw(16), 100 * p.error, "\n"));
  std::vector<RunSummary> runs;
  for (const std::string& dir : config.list("rl.runs")) runs.push_back(read_run(dir, dir + "/run.jsonl"));
  if (!runs.empty()) print(cat(runs.size(), runs.size() == 1 ? " run: " : " runs: ", compute_text(runs), "\n"));
  return Exit::done;
}

}  // namespace ov::cli
