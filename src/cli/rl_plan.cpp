// `plan --plan.rl`: the engine's own plan of a micro-batch, and what RL's roles make of it (rl/plan.h).
#include "audit/plan_device.h"
#include "cli/verbs.h"
#include "rl/plan.h"

namespace ov::cli {

Exit plan_rl(const Config& config, const ModelConfig& model) {
  const std::string& device = config.text("plan.device");
  if (device.empty()) input_error("plan.rl: give plan.device, the machine that there are several of");
  const DeviceFacts facts = find_device(shipped(config, "plan.devices"), device);
  stated_recompute(config, "plan.rl compares what a step takes as it is described; say true, or false");
  // Roles and modes divide the step here; the keys that divide it elsewhere would count twice.
  if (config.integer("plan.ranks") != 1)
    input_error("plan.rl: plan.ranks is of one step of training; plan.devices_of_run says how many devices there are");
  if (config.integer("train.micro_batches") != 1)
    input_error("plan.rl: train.micro_batches is not a key of rl: a step's answers fill as many as they need");
  if (config.integer("parallel.zero") != 1)
    input_error("plan.rl: trainers divide the optimiser's state, as parallel.zero 1 does; no other value is planned");
  PlanOptions options = plan_options(config, model.vision);
  options.gpu = !facts.measured;
  constexpr std::int64_t micro_batch = 6144;  // tokens, the release's
  std::int64_t patches = 0;
  for (const Grid& g : options.grids) patches += g.t * g.h * g.w;
  const std::int64_t image_tokens = patches / (model.vision.merge * model.vision.merge);
  rl::RlPlanned p{.devices = config.integer("plan.devices_of_run"),
                  .generators = config.integer("rl.generators"),
                  .prompts = config.integer("rl.prompts"),
                  .group = config.integer("rl.group"),
                  .running = config.integer("rl.max_running"),
                  .prompt_tokens = image_tokens + options.text_tokens,
                  .memory = facts.memory,
                  .bandwidth = facts.bandwidth,
                  .link = facts.link,
                  .mfu = config.number("plan.mfu") > 0 ? config.number("plan.mfu") : facts.mfu};
  const auto peak = facts.peak.find(name_of(options.dtype));
  if (peak == facts.peak.end() || p.mfu == 0)
    input_error("plan.rl: ", device, " has no peak of ", name_of(options.dtype), " or no mfu; give plan.mfu");
  p.peak = peak->second;
  const std::int64_t lengths[] = {config.integer("plan.short_answers"), config.integer("plan.long_answers")};
  config.refuse_unread("with plan.rl");

  const Plan prompt = plan_model(model, options);
  PlanOptions row = options;
  row.text_tokens = std::max<std::int64_t>(options.text_tokens, micro_batch - image_tokens);
  const Plan whole = plan_model(model, row);
  const auto bytes = [&](Segment s) { return static_cast<double>(whole.memory.peak[static_cast<std::size_t>(s)]); };
  const auto parameters = static_cast<double>(whole.parameters);
  p.values = parameters * static_cast<double>(size_of(options.dtype));
  p.masters = bytes(Segment::weights) - p.values;
  p.moments = bytes(Segment::optimizer), p.gradients = bytes(Segment::gradients);
  p.activations = static_cast<double>(whole.memory.total_peak) - bytes(Segment::weights) - p.moments - p.gradients;
  p.keys_per_token = 2.0 * static_cast<double>(model.text.layers * model.text.kv_heads * model.text.head_dim) *
                     static_cast<double>(size_of(options.dtype));
  p.prompt_forward = prompt.forward_flops, p.prompt_backward = prompt.backward_flops;
  p.prompt_recomputed = prompt.recomputed_flops;
  std::string out =
      cat(p.devices, " x ", facts.about, ", ", facts.memory / 1e9, " GB each for a run; micro-batches of ", micro_batch,
          " tokens; ", name_of(options.dtype), " with masters of f32\n", "assumed: passes reach ", 100 * p.mfu,
          " % of the peak of products, and all of the memory's ", p.bandwidth / 1e9,
          " GB/s; gradients and weights go through the host at ", p.link / 1e9,
          " GB/s; answers are all of the mean length, and nobody waits for a straggler\n");
  bool all_fit = true;
  for (int stage = 1; stage <= 2; ++stage) {
    PlanOptions answer = options;
    answer.grids.clear(), answer.text_tokens = p.answer_tokens = lengths[stage - 1], answer.labelled = 0;
    const Plan text = plan_model(model, answer);
    // Every token of an answer also looks at the prompt: two products of heads x width, a multiply-add counts two.
    const double seen = 4.0 * static_cast<double>(model.text.layers * model.text.heads * model.text.head_dim) *
                        static_cast<double>(p.prompt_tokens * p.answer_tokens);
    p.answer_forward = text.forward_flops + seen;
    p.answer_backward = text.backward_flops + 2 * seen, p.answer_recomputed = text.recomputed_flops;
    const rl::RlModes modes = rl::plan_rl(p);
    for (const rl::RlMode* m : {&modes.sync, &modes.colocated, &modes.disaggregated}) all_fit = all_fit && m->fits;
    out += rl::report(p, modes, stage);
  }
  if (!all_fit)
    out += cat("fits: host, with train.offload_optimizer; no, not with it either. Less is needed with ",
               options.recompute ? "" : "train.recompute, ",
               "optimizer.moments bf16, fewer train.modules, and in colocated-dp and disaggregated more "
               "plan.devices_of_run\n");
  out +=
      cat("the original, on 8 x 80 GB: 4 devices generate, 4 train; values, gradients and moments in bf16, divided by "
          "4: ",
          8 * parameters / 4 / 1e9, " GB a trainer; 30 epochs are configured, how many were run is not published\n");
  return print(out), Exit::done;
}

}  // namespace ov::cli
