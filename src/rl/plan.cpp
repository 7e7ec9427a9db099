#include "rl/plan.h"

#include <algorithm>
#include <cmath>
#include <iomanip>

#include "base/error.h"

namespace ov::rl {
namespace {

// Answers that one of n generators writes at a time, and in how many rounds it writes all of a step's.
double running_on(const RlPlanned& p, double n) {
  return std::min(static_cast<double>(p.running), std::ceil(static_cast<double>(p.prompts * p.group) / n));
}

// Keys and values of what is written at a time: a prompt for every group of it.
double cache_of(const RlPlanned& p, double n) {
  const double running = running_on(p, n), groups = std::ceil(running / static_cast<double>(p.group));
  return p.keys_per_token *
         (groups * static_cast<double>(p.prompt_tokens) + running * static_cast<double>(p.answer_tokens));
}

double write_seconds(const RlPlanned& p, double n) {
  const double running = running_on(p, n), answers = static_cast<double>(p.prompts * p.group) / n;
  const double seen = static_cast<double>(p.prompt_tokens) + static_cast<double>(p.answer_tokens) / 2;
  const double pass = std::max((p.values + running * seen * p.keys_per_token) / p.bandwidth,
                               running * p.answer_forward / static_cast<double>(p.answer_tokens) / (p.peak * p.mfu));
  const double passes = answers * static_cast<double>(p.answer_tokens) / running;
  return passes * pass + static_cast<double>(p.prompts) / n * p.prompt_forward / (p.peak * p.mfu);
}

// At an update, what one of n generators is writing: the prompts of its groups, and half of each answer.
double reread_seconds(const RlPlanned& p, double n) {
  const double running = running_on(p, n), groups = std::ceil(running / static_cast<double>(p.group));
  return (groups * p.prompt_forward + running * p.answer_forward / 2) / (p.peak * p.mfu);
}

// FLOP of a group's training, without what is recomputed.
double trained(const RlPlanned& p) {
  return p.prompt_forward + p.prompt_backward + static_cast<double>(p.group) * (p.answer_forward + p.answer_backward);
}

double train_seconds(const RlPlanned& p, double n) {
  const double group = trained(p) + p.prompt_recomputed + static_cast<double>(p.group) * p.answer_recomputed;
  const double update = 2 * (p.masters + p.moments) / n + p.gradients + p.values;  // bytes read and written
  return static_cast<double>(p.prompts) / n * group / (p.peak * p.mfu) + update / p.bandwidth +
         (n - 1) / n * (p.gradients + p.values) / p.link;
}

double trainer_bytes(const RlPlanned& p, double n, bool offloaded) {
  return p.values + p.gradients + p.activations + (offloaded ? 0 : (p.masters + p.moments) / n);
}

std::string number(double v, int digits, int width) {
  return cat(std::fixed, std::setprecision(digits), std::setw(width), v);
}

}  // namespace

std::int64_t steps_of_epoch(std::int64_t all, std::int64_t prompts) { return all / prompts; }

RlModes plan_rl(const RlPlanned& p) {
  if (p.generators < 1 || p.generators >= p.devices)
    input_error("rl.generators ", p.generators, ": of ", p.devices, " devices at least one generates and one trains");
  const double tokens = static_cast<double>(p.prompts * p.group) * static_cast<double>(p.answer_tokens);
  const auto together = [&](const char* name, std::int64_t n) {
    const auto d = static_cast<double>(n);
    RlMode m{.name = name, .generators = n, .trainers = n};
    m.trainer_bytes = trainer_bytes(p, d, false) + cache_of(p, d);
    m.offloaded_bytes = trainer_bytes(p, d, true) + cache_of(p, d);
    m.generator_bytes = m.trainer_bytes;
    m.write_seconds = write_seconds(p, d), m.train_seconds = train_seconds(p, d);
    m.step_seconds = m.write_seconds + m.train_seconds;
    return m;
  };
  RlModes out{together("sync", 1), together("timesliced", 1), together("colocated-dp", p.devices), {}};
  out.timesliced.write_seconds += reread_seconds(p, 1), out.timesliced.step_seconds += reread_seconds(p, 1);
  RlMode& m = out.disaggregated;
  m = {.name = "disaggregated", .generators = p.generators, .trainers = p.devices - p.generators};
  const auto k = static_cast<double>(m.generators), n = static_cast<double>(m.trainers);
  m.generator_bytes = p.values + cache_of(p, k);
  m.trainer_bytes = trainer_bytes(p, n, false), m.offloaded_bytes = trainer_bytes(p, n, true);
  m.write_seconds = write_seconds(p, k) + reread_seconds(p, k), m.train_seconds = train_seconds(p, n);
  m.step_seconds = std::max(m.write_seconds, m.train_seconds) + p.values / p.link;
  for (RlMode* mode : {&out.sync, &out.timesliced, &out.colocated, &out.disaggregated}) {
    mode->tokens_per_second = tokens / mode->step_seconds;
    const double products = static_cast<double>(p.prompts) *
                            (trained(p) + p.prompt_forward + static_cast<double>(p.group) * p.answer_forward);
    const std::int64_t all = mode->generators + (mode == &out.disaggregated ? mode->trainers : 0);
    mode->mfu = products / (mode->step_seconds * static_cast<double>(all) * p.peak);
    mode->fits = std::max(mode->generator_bytes, mode->trainer_bytes) <= p.memory;
    const double writes = mode == &out.disaggregated ? mode->generator_bytes : 0;
    mode->fits_offloaded = std::max(writes, mode->offloaded_bytes) <= p.memory;
  }
  return out;
}

std::string report(const RlPlanned& p, const RlModes& modes, int stage) {
  const std::int64_t steps = steps_of_epoch(stage_prompts[stage - 1], p.prompts);
  if (steps < 1)
    input_error("rl.prompts ", p.prompts, ": an epoch of stage ", stage, " has ", stage_prompts[stage - 1], " prompts");
  std::string out =
      cat("stage ", stage, ": ", p.prompts, " prompts of ", p.prompt_tokens, " tokens, ", p.group, " answers of ",
          p.answer_tokens, " each; ", steps, " steps an epoch of ", stage_prompts[stage - 1], " prompts\n",
          "  mode            devices   GB: generates    trains   states on the host   fits   s: write   "
          "train    step   tokens/s   MFU, %   hours an epoch\n");
  for (const RlMode* m : {&modes.sync, &modes.timesliced, &modes.colocated, &modes.disaggregated}) {
    const bool apart = m == &modes.disaggregated;
    const std::string devices = apart ? cat(m->generators, " + ", m->trainers) : cat(m->trainers);
    out += cat("  ", std::left, std::setw(16), m->name, std::right, std::setw(7), devices,
               apart ? number(m->generator_bytes / 1e9, 1, 16) : std::string(12, ' ') + "both",
               number(m->trainer_bytes / 1e9, 1, 10), number(m->offloaded_bytes / 1e9, 1, 21), std::setw(7),
               m->fits             ? "yes"
               : m->fits_offloaded ? "host"
                                   : "no",
               number(m->write_seconds, 1, 11), number(m->train_seconds, 1, 8), number(m->step_seconds, 1, 8),
               number(m->tokens_per_second, 0, 11), number(100 * m->mfu, 1, 9),
               number(m->step_seconds * static_cast<double>(steps) / 3600, 1, 17), "\n");
  }
  return out;
}

}  // namespace ov::rl
