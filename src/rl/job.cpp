#include "rl/job.h"

#include "base/hash.h"
#include "base/progress.h"
#include "base/stop_signals.h"
#include "comm/process_ranks.h"
#include "generate/generate.h"
#include "rl/disaggregated.h"
#include "rl/replay.h"
#include "rl/select_run.h"
#include "train/checksums.h"
#include "train/stages/model_directory.h"

namespace ov::rl {

namespace {

// What the sums of log-probabilities of a run's reference depend on: the model that it starts from.
Json about_references(const RlJob& job, const Onevision& model, const ModelFiles& files, const RecordFile& records) {
  const PixelLimits& limits = job.preferences->limits;
  return Json::object(
      {{"type", "references"},
       {"weights", hex16(weights_checksum(model.parameters()))},
       {"config", model_fingerprint(files.config)},
       {"dtype", name_of(job.load.dtype)},
       {"numerics", cat(job.load.reference, ' ', job.load.hf_shift_bug, ' ', job.load.pre_norm_eps, ' ',
                        job.load.merger_norm_eps, ' ', job.load.segments)},
       {"processor", processor_fingerprint(files.processor)},
       {"pixels", cat(limits.min_pixels.value_or(0), ' ', limits.max_pixels.value_or(0), ' ', limits.fast)},
       {"records", records.fingerprint()}});
}

std::unique_ptr<Objective> preferences(const RlJob& job, Onevision& model, const ModelFiles& files,
                                       const RecordFile& records) {
  auto objective = std::make_unique<PreferenceObjective>(model, files.processor, records, *job.preferences);
  const StopSignals signals;  // as in the steps behind it (train/run_loop.h): what is done is kept
  std::optional<Progress> bar;
  const auto progress = [&](std::int64_t done, std::int64_t all) {
    if (job.writes()) {
      if (!bar) bar.emplace("references", all, "pair");
      bar->update(done);
    }
    const int signal = stop_asked(*job.ranks);
    if (!signal) return;
    bar.reset();
    job.ranks->barrier();
    throw Error(stopped_by(signal), cat("stopped by ", StopSignals::name(signal), " with the references of ", done,
                                        " of ", all, " pairs, which are kept; the same command goes on from there"));
  };
  objective->find_references(job.out + "/references.jsonl", about_references(job, model, files, records),
                             job.train.steps, *job.ranks, progress);
  if (bar) bar->finish();
  return objective;
}

StepReport run_in_roles(const RlJob& given) {
  RlJob job = given;
  std::optional<Roles> roles;
  if (job.mode == Mode::disaggregated && job.events.empty()) {
    roles.emplace(*job.ranks, job.generators);
    if (job.log_every != 1)
      input_error("log.every ", job.log_every, ": in rl.mode disaggregated every step is logged, for its events");
  }
  LoadOptions load = job.load;
  load.device = job.device;
  const bool dpo = job.preferences.has_value();
  const ModelFiles files = open_model_files(job.model_dir, load);
  const RecordFile records(job.records, job.image_dir, job.templates, job.keep,
                           dpo ? RecordKind::preference : RecordKind::question);
  if (const std::string said = records.said_of_unknown_types(); !dpo && job.writes() && !said.empty()) tell(said);
  if (const std::string said = said_of_other_prompts(job.keep, job.policy.rollouts.style);
      !dpo && job.writes() && !said.empty())
    tell(said);
  const auto model = load_model(files.config, job.model_dir, load);
  model->recompute_blocks = job.recompute, model->recompute_first = job.recompute_first;
  PolicyOptions policy = job.policy;
  policy.rollouts.stop = read_stop_ids(job.model_dir, files.processor.stop_ids(), files.config.text.vocabulary);
  std::unique_ptr<Onevision> reference;
  if (!dpo && policy.advantages.kl_ctl > 0) {
    LoadOptions frozen = load;
    frozen.in_place = true;
    reference = load_model(files.config, job.model_dir, frozen), policy.reference = reference.get();
  }
  PromptOrder order(records, dpo ? job.preferences->order : policy.order);
  Json sources = Json::object({{"model", model_fingerprint(files.config)},
                               {"processor", processor_fingerprint(files.processor)},
                               {"records", records.fingerprint()}});
  if (roles) {
    if (roles->generates()) {
      run_generator(*model, files.processor, records, std::move(order), buffer_options(policy), *roles, sources.dump());
      return {};
    }
    job.ranks = &roles->trainers;
  }
  const RunDirectory directory(job, "model", "rl", {job.model_dir});
  Parameters& parameters = model->parameters();
  parameters.train(trainable(job.modules, job.train_class_params));
  if (parameters.trained() == 0) input_error("train.modules: nothing is trained");
  std::unique_ptr<Objective> objective;
  RemoteRollouts* remote = nullptr;
  if (dpo) {
    objective = preferences(job, *model, files, records);
  } else {
    std::unique_ptr<RolloutSource> source;
    const BufferOptions buffer = buffer_options(policy);
    if (roles) {
      auto owned = std::make_unique<RemoteRollouts>(*model, files.processor, records, std::move(order), buffer, *roles,
                                                    sources.dump());
      remote = owned.get(), source = std::move(owned);
    } else if (job.mode == Mode::disaggregated) {
      auto owned =
          std::make_unique<ReplayedRollouts>(*model, files.processor, records, std::move(order), buffer, job.events);
      sources.set("events", owned->fingerprint()), source = std::move(owned);
    } else {
      source = std::make_unique<RolloutBuffer>(*model, files.processor, records, std::move(order), buffer,
                                               job.mode == Mode::colocated ? *job.ranks : one_rank());
    }
    objective = std::make_unique<PolicyObjective>(*model, policy, std::move(source));
  }
  StepEngine engine(*objective, job.train, *job.ranks);
  load_masters(*model, job.model_dir);

  const RunFacts facts{.name = dpo ? "dpo" : "rl",
                       .counts = Json::object({{"records", std::ssize(records.records())}}),
                       .sources = sources};
  const StepReport last = run_to_end(engine, job, facts, [&] {
    export_model(directory.result(), *model, files.processor,
                 {.command = "rl", .code = {job.model_dir}, .dtype = job.export_dtype, .card = run_card(job, facts)});
    return Json::object();
  });
  if (remote) remote->finish();
  return last;
}

}  // namespace

StepReport run_rl(const RlJob& job) {
  try {
    return run_in_roles(job);
  } catch (const PeerFailed& e) {
    const bool apart = job.mode == Mode::disaggregated && job.events.empty();
    const bool wrote = apart && e.rank >= job.ranks->ranks() - job.generators;  // of NCCL's ranks each is needed
    const char* what = wrote ? "; it generated, and" : apart ? "; it trained, and" : ";";
    throw PeerFailed(e.exit(), cat(e.what(), what, " the same command goes on from the last checkpoint"), e.rank);
  }
}

}  // namespace ov::rl
