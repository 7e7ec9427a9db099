// What a run of RL needs on several devices, by role and mode, and how long its steps and epochs take: arithmetic on
// what the engine's own plan says of one micro-batch (`plan`), before anything is allocated. Times are the least that
// the device's numbers allow: nobody waits, and answers are all as long as the mean.
//
//   a trainer      values, masters and moments, gradients, activations of a micro-batch; with n trainers and ZeRO 1 a
//                  rank holds 1/n of masters and moments. `offloaded`: masters and moments lie on the host
//   a generator    values, and keys and values of the answers that it writes at a time: those of the prompt once for
//                  the rollouts of a group, those of an answer as long as the mean one
//   both           the sum of the two, with one copy of the values (modes sync, timesliced, colocated-dp)
//
//   a pass of R answers takes max((values + R c k) / bandwidth, R f / (peak mfu)) seconds and gives R tokens: c tokens
//   each sees on average, k bytes of keys and values a token, f FLOP of a token's forward pass, attention included
//   training takes (forward + backward) of a group's prompt once and of its G answers, over peak mfu; the update moves
//   its states through memory, and between n trainers (n - 1) / n of gradients and values, over the link
//   reading again: at an update every generator's R answers, half written on average, are read with the new weights
//
//   mode            devices     seconds a step
//   sync            1           write + train
//   timesliced      1           write + reading again + train
//   colocated-dp    n           (write + train) / n
//   disaggregated   k, n - k    max(write / k + reading again, train / (n - k)) + values / link
//
// MFU: products of the passes that write and train, without what is recomputed or read again, over seconds, devices and
// peak. It is at most `mfu`, which is what the passes themselves reach: writing waits for memory, and one side for the
// other.
#pragma once
#include <cstdint>
#include <string>

namespace ov::rl {

struct RlPlanned {
  // Of the model and one micro-batch, in bytes, as `plan` has them.
  double values = 0, masters = 0, moments = 0, gradients = 0, activations = 0, keys_per_token = 0;
  double prompt_forward = 0, prompt_backward = 0;       // FLOP of a prompt with its pictures
  double answer_forward = 0, answer_backward = 0;       // and of an answer's tokens
  double prompt_recomputed = 0, answer_recomputed = 0;  // beside the backward passes
  // Of the run.
  std::int64_t devices = 8, generators = 4, prompts = 32, group = 16, running = 64;
  std::int64_t prompt_tokens = 0, answer_tokens = 0;
  // Of a device: bytes, bytes a second, FLOP a second.
  double memory = 0, bandwidth = 0, link = 0, peak = 0, mfu = 0;
};

struct RlMode {
  std::string name;
  std::int64_t generators = 0, trainers = 0;                           // devices; one that does both counts as both
  double generator_bytes = 0, trainer_bytes = 0, offloaded_bytes = 0;  // a device; all in one where it does both
  double write_seconds = 0, train_seconds = 0, step_seconds = 0, tokens_per_second = 0;  // answers' tokens
  double mfu = 0;
  bool fits = false, fits_offloaded = false;
};

// sync, timesliced, colocated-dp, disaggregated. input_error for generators that leave no trainer.
struct RlModes {
  RlMode sync, timesliced, colocated, disaggregated;
};
RlModes plan_rl(const RlPlanned& planned);

// The release's two stages: 19.9 and 49.2 thousand prompts, 32 a step.
inline constexpr std::int64_t stage_prompts[] = {19900, 49200};
std::int64_t steps_of_epoch(std::int64_t stage_prompts, std::int64_t prompts);  // whole steps

// A table for people, of one stage's answers. "states on the host": GB a device with masters and moments there.
std::string report(const RlPlanned& planned, const RlModes& modes, int stage);

}  // namespace ov::rl
