#include "audit/plan_device.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/json_section.h"
#include "base/parallel.h"
#include "kernels/cpu/peak.h"
#include "train/floor.h"

namespace ov {
namespace {

constexpr const char* types[] = {"bf16", "f32", "f64"};

double positive(JsonSection& s, const char* key) {
  const double value = s.number(key);
  if (!(value > 0)) input_error(s.where(), ": ", key, " is ", value, ", expected more than 0");
  return value;
}

DeviceFacts read_device(const std::string& name, const Json& row, const std::string& where) {
  JsonSection s(row, where);
  DeviceFacts d{.name = name, .about = s.text("about"), .measured = s.flag("measured", false)};
  if (d.about.empty()) input_error(where, ": about: missing; say which machine it is");
  if (!d.measured) {
    const Json none, *tflops = s.find("tflops");
    JsonSection peaks(tflops ? *tflops : none, where + ": tflops");
    for (const char* type : types) d.peak[type] = 1e12 * positive(peaks, type);
    d.memory = 1e9 * (positive(s, "memory_gb") - s.number("driver_gb"));
    if (!(d.memory > 0)) input_error(where, ": driver_gb is all of memory_gb");
    d.bandwidth = 1e9 * positive(s, "bandwidth_gb_s"), d.link = 1e9 * positive(s, "link_gb_s");
    d.mfu = positive(s, "mfu");
    if (d.mfu > 1) input_error(where, ": mfu is ", d.mfu, ", expected at most 1");
  }
  d.node = static_cast<int>(s.integer("node", 0)), d.inside = s.text("inside"), d.between = s.text("between");
  if (d.node < 0) input_error(where, ": node is ", d.node, ", expected at least 1");
  s.finish("", {""});
  return d;
}

}  // namespace

std::vector<DeviceFacts> read_devices(const std::string& table) {
  std::vector<DeviceFacts> devices;
  const Json json = Json::read(table);
  if (!json.is_object()) input_error(table, ": expected an object of devices by name");
  for (const auto& [name, row] : json.members()) devices.push_back(read_device(name, row, cat(table, ": ", name)));
  return devices;
}

DeviceFacts find_device(const std::string& table, const std::string& name) {
  std::string names;
  for (DeviceFacts& d : read_devices(table)) {
    names += (names.empty() ? "" : ", ") + d.name;
    if (d.name != name) continue;
    if (!d.measured) return d;
    d.memory = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
    const double peak = kernels::cpu::fma_peak_flops(threads());
    d.peak = {{"bf16", peak}, {"f32", peak}, {"f64", peak / 2}};  // bf16 computes in f32
    d.bandwidth = d.link = measured_machine().bandwidth() * threads();
    return d;
  }
  input_error("plan.device: ", table, " has no ", name, "; it has ", names);
}

std::int64_t fewest_recomputed(const std::function<TriedStep(std::int64_t)>& step) {
  for (std::int64_t n = 0;; ++n)
    if (const TriedStep tried = step(n); tried.missing <= 0 || n >= tried.blocks) return n;
}

FittedRun fit_run(const ModelConfig& config, PlanOptions options, std::int64_t memory) {
  FittedRun fitted;
  options.train.floor = false;
  fitted.recomputed = fewest_recomputed([&](std::int64_t n) {
    options.recompute = n > 0, options.recompute_first = n;
    const Plan plan = plan_model(config, options);
    fitted.blocks = plan.blocks, fitted.bytes = plan.memory.total_peak;
    return TriedStep{fitted.bytes - memory, plan.blocks};
  });
  return fitted;
}

double update_seconds(const DeviceFacts& device, const Plan& plan, const PlanOptions& options) {
  std::int64_t leaves = 0;
  for (const std::int64_t n : plan.rounds) leaves += n;
  const std::size_t moment = options.train.optimizer.moments == Moments::full ? sizeof(float) : sizeof(Bf16);
  // Gradients of all that it holds are added, its own part is updated.
  const double sums =
      leaves > 1 ? update_bytes(plan.held_trained, leaves, moment) - update_bytes(plan.held_trained, 1, moment) : 0;
  return (sums + update_bytes(plan.updated, 1, moment)) / device.bandwidth +
         2 * static_cast<double>(plan.host.total_peak) / device.link;
}

std::vector<MemoryKey> memory_keys(const PlanOptions& o, std::int64_t blocks) {
  std::vector<MemoryKey> keys;
  const auto add = [&](bool off, const char* key, const char* value, std::function<void(PlanOptions&)> change) {
    if (off) keys.push_back({key, value, std::move(change)});
  };
  add(!o.recompute, "--train.recompute", "", [](PlanOptions& p) { p.recompute = true; });
  add(o.recompute && o.recompute_first < blocks, "--train.recompute_blocks", "=0",
      [](PlanOptions& p) { p.recompute_first = every_block; });
  add(!o.train.loss_rows, "--train.loss_rows", "=1536", [](PlanOptions& p) { p.train.loss_rows = 1536; });
  add(o.train.tree, "--train.grad_sum", "=chain", [](PlanOptions& p) { p.train.tree = false; });
  const bool full = o.train.optimizer.moments == Moments::full,
             by_chance = o.train.pipeline * o.train.experts * o.train.classes == 1;  // else it is not built
  add(full && by_chance, "--optimizer.moments", "=bf16_stochastic",
      [](PlanOptions& p) { p.train.optimizer.moments = Moments::bf16_stochastic; });
  add(full && !by_chance, "--optimizer.moments", "=bf16",
      [](PlanOptions& p) { p.train.optimizer.moments = Moments::bf16; });
  add(!o.train.optimizer.state_on, "--train.offload_optimizer", "",
      [](PlanOptions& p) { p.train.optimizer.state_on = &cpu(); });
  const int copies = o.ranks / (o.train.tensor * o.train.pipeline * o.train.context);
  for (const int zero : {1, 2, 3})
    add(copies > 1 && zero > o.train.zero, "--parallel.zero",
        zero == 1   ? "=1"
        : zero == 2 ? "=2"
                    : "=3",
        [zero](PlanOptions& p) { p.train.zero = zero; });
  return keys;
}

void try_memory_keys(const std::vector<MemoryKey>& keys, const PlanOptions& options,
                     const std::function<bool(const std::string&, const PlanOptions&)>& try_keys) {
  std::vector<const MemoryKey*> save;
  for (const MemoryKey& k : keys) {
    PlanOptions changed = options;
    k.change(changed);
    if (!try_keys(k.key + k.value, changed)) continue;
    std::erase_if(save, [&](const MemoryKey* other) { return other->key == k.key; });
    save.push_back(&k);
  }
  if (save.size() < 2) return;
  PlanOptions all = options;
  std::string words;
  for (const MemoryKey* k : save) k->change(all), words += cat(words.empty() ? "" : " ", k->key, k->value);
  try_keys(words, all);
}

namespace {

DevicePlan::Step step_on(const DeviceFacts& device, const Planner& plan, PlanOptions options, double mfu) {
  options.train.floor = mfu == 0;
  options.gpu = !device.measured;
  if (device.measured) options.train.optimizer.state_on = nullptr;  // its memory is the host's
  DevicePlan::Step s{.plan = plan(options)};
  s.missing = s.plan.memory.total_peak - static_cast<std::int64_t>(device.memory);
  if (mfu == 0) s.seconds = s.plan.floor_seconds;
  else
    s.seconds = (s.plan.forward_flops + s.plan.backward_flops + s.plan.recomputed_flops) /
                    (mfu * device.peak.at(name_of(options.dtype))) +
                update_seconds(device, s.plan, options);
  return s;
}

}  // namespace

DevicePlan plan_on(const DeviceFacts& device, const Planner& plan, const PlanOptions& given, double mfu, bool choose) {
  DevicePlan p{.device = device, .mfu = mfu > 0 ? mfu : device.mfu, .step = {}, .recomputed = {}, .remedies = {}};
  PlanOptions options = given;
  if (!choose) p.step = step_on(device, plan, options, p.mfu);
  else
    p.recomputed = fewest_recomputed([&](std::int64_t n) {
      options.recompute = n > 0, options.recompute_first = n;
      p.step = step_on(device, plan, options, p.mfu);
      return TriedStep{p.step.missing, p.step.plan.blocks};
    });
  if (p.step.missing <= 0) return p;
  try_memory_keys(memory_keys(options, p.step.plan.blocks), options,
                  [&](const std::string& keys, const PlanOptions& changed) {
                    DevicePlan::Remedy r{keys, step_on(device, plan, changed, p.mfu)};
                    const bool saves = r.step.missing < p.step.missing;
                    if (saves) p.remedies.push_back(std::move(r));
                    return saves;
                  });
  return p;
}

std::string DevicePlan::report() const {
  const auto gigabytes = [](double bytes) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2f GB", bytes / 1e9);
    return std::string(text);
  };
  const auto time = [&](const Step& s) {
    const double model = s.plan.forward_flops + s.plan.backward_flops;
    const double peak = s.seconds * device.peak.at(name_of(s.plan.dtype));
    char text[96];
    const bool words = s.plan.tokens > 0;
    std::snprintf(text, sizeof text, "%.4g s a step, %.0f %s/s, MFU %.0f %%", s.seconds,
                  static_cast<double>((words ? s.plan.tokens : s.plan.patches) * s.plan.micro_batches) / s.seconds,
                  words ? "tokens" : "patches", 100 * model / peak);
    return std::string(text);
  };
  std::string out =
      cat("on ", device.about, ", ", gigabytes(device.memory), " for a run, ",
          mfu > 0 ? cat(std::to_string(static_cast<int>(100 * mfu + 0.5)), " % of the peak of products")
                  : cat("at rates measured now; MFU is of ",
                        std::to_string(static_cast<std::int64_t>(device.peak.at(name_of(step.plan.dtype)) / 1e9 + 0.5)),
                        " GFLOP/s, what its cores reach"),
          "\n");
  const auto needs = [&](const Step& s) {
    return cat(gigabytes(static_cast<double>(s.plan.memory.total_peak)),
               s.missing > 0 ? ", too large by " + gigabytes(static_cast<double>(s.missing)) : ", fits");
  };
  if (recomputed && *recomputed == 0) out += "  recomputed      nothing: it fits without\n";
  else if (recomputed)
    out += cat("  recomputed      ", *recomputed, " of ", step.plan.blocks,
               " blocks: --train.recompute --train.recompute_blocks=", *recomputed, "\n");
  out += cat("  needs           ", needs(step), "\n", "  time            ", time(step), "\n");
  if (step.missing <= 0) return out;
  for (const Remedy& r : remedies)
    out += cat("  with ", r.keys, "\n    needs         ", needs(r.step), ": ",
               gigabytes(static_cast<double>(step.missing - r.step.missing)), " less\n    time          ", time(r.step),
               "\n");
  const Step& best = remedies.empty() ? step : remedies.back().step;
  if (best.missing > 0)
    out += cat("  no key makes it fit: weights and gradients alone take ",
               gigabytes(static_cast<double>(best.plan.memory.peak[static_cast<std::size_t>(Segment::weights)] +
                                             best.plan.memory.peak[static_cast<std::size_t>(Segment::gradients)])),
               "; fewer pictures or tokens a micro-batch, fewer train.modules, or more devices\n");
  return out;
}

}  // namespace ov
