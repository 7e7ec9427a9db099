// `plan --what clip --plan.pictures N`: what embedding and balancing so many pictures takes (curate/plan.h).
#include <chrono>

#include "audit/plan_mesh.h"
#include "base/rng.h"
#include "cli/verbs.h"
#include "curate/plan.h"
#include "kernels/nearest.h"

namespace ov::cli {
namespace {

// FLOP/s of the search on this machine, the best of three.
double measured_search(std::int64_t width) {
  constexpr std::int64_t rows = 2048, concepts = 8192, k = 10;
  const Tensor a({rows, width}, Dtype::f32, cpu()), b({concepts, width}, Dtype::f32, cpu());
  for (const Tensor& t : {a, b}) {
    const Philox random(1, "plan", static_cast<std::uint64_t>(t.dim(0)));
    for (std::int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = random.normal(static_cast<std::uint64_t>(i));
  }
  const Tensor ids({rows, k}, Dtype::i32, cpu()), scores({rows, k}, Dtype::f32, cpu());
  double best = 0;
  for (int round = 0; round < 3; ++round) {
    const auto start = std::chrono::steady_clock::now();
    kernels::nearest({.ids = ids, .scores = scores, .a = a, .b = b});
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::max(best, 2.0 * rows * concepts * static_cast<double>(width) / took.count());
  }
  return best;
}

}  // namespace

Exit plan_balancing(const Config& config, const ClipConfig& model) {
  const DeviceFacts device = find_device(shipped(config, "plan.devices"), config.required("plan.device"));
  const Dtype dtype = dtype_option(config);
  const std::int64_t ranks = config.integer("plan.ranks"), node = config.integer("plan.node");
  BalancePlanned p{
      .pictures = config.integer("plan.pictures"),
      .concepts = config.integer("plan.concepts"),
      .width = model.projection,
      .k = config.integer("balance.k"),
      .node = node > 0 ? node : std::max(device.node, 1),
      .memory = device.memory,
      .peak = device.peak.at(name_of(dtype)),
      .mfu = config.number("plan.mfu") > 0 ? config.number("plan.mfu") : device.mfu,
      .link = device.link,
      .storage = find_link(shipped(config, "plan.links"), config.text("plan.storage"), "plan.storage").rate,
      .number_bytes = static_cast<double>(size_of(dtype)),
      .host = device.measured};
  if (p.k > p.concepts) input_error("balance.k is ", p.k, ", more than plan.concepts ", p.concepts);
  config.refuse_unread("with plan.pictures");

  // What the engine's step of one pair passes forward, told apart by a step of a shorter text.
  const auto forward = [&](std::int64_t text) {
    return plan_clip(model, {.grids = {{1, 1, 1}}, .text_tokens = text, .dtype = dtype, .train = {}});
  };
  constexpr std::int64_t words = 8;  // of a concept in its sentence
  const Plan longer = forward(2 * words), shorter = forward(words);
  p.concept_flops = longer.forward_flops - shorter.forward_flops;
  p.picture_flops = shorter.forward_flops - p.concept_flops;
  p.encoder_bytes = static_cast<double>(shorter.parameters) * p.number_bytes;
  const bool measured = !(p.mfu > 0);
  if (measured) p.mfu = measured_search(p.width) / p.peak;

  std::string out = cat(device.about, p.node > 1 ? cat(", ", p.node, " a machine") : "", "; ", name_of(dtype),
                        measured ? "; the share of the peak is what the search reached just now\n" : "\n");
  p.devices = std::max<std::int64_t>(ranks, 1);
  out += balance_head(p);
  if (ranks > 1) out += balance_row(p);
  else
    for (const int n : {0, 1, 2, 4, 8, 16, 32, 64}) {
      p.devices = n == 0 ? 1 : n * p.node;
      if (n != 1 || p.node > 1) out += balance_row(p);
    }
  if (!p.host)
    out +=
        "This program searches on the processors of a machine (kernels/nearest.h): products and link are those that "
        "a device would take, embed is the device's.\n";
  return print(out), Exit::done;
}

}  // namespace ov::cli
