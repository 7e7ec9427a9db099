// `plan --what clip --plan.pictures N`: what embedding and balancing so many pictures takes (curate/plan.h).
#include <chrono>
#include <limits>

#include "audit/plan_mesh.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "cli/verbs.h"
#include "curate/plan.h"
#include "data/raw/captioned_pictures.h"
#include "image/encode.h"
#include "kernels/nearest.h"

namespace ov::cli {
namespace {

constexpr std::int64_t guessed_cores = 8;  // beside a device

// The shortest of three calls, in seconds.
template <class F>
double best_of_three(F&& f) {
  double best = std::numeric_limits<double>::infinity();
  for (int round = 0; round < 3; ++round) {
    const auto start = std::chrono::steady_clock::now();
    f();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count());
  }
  return best;
}

// Seconds of one core of this machine for a picture of `embed`: a JPEG of quality 90, its colours a slope with noise.
double measured_decoding(std::int64_t width, std::int64_t height, const ClipConfig& model) {
  const Philox random(1, "plan picture");
  Image image(width, height);
  for (std::size_t i = 0; i < image.rgb.size(); ++i)
    image.rgb[i] = static_cast<std::uint8_t>(200 * i / image.rgb.size() + random.below(i, 40));
  const std::string jpeg = encode_jpeg(image);
  Conversation record;
  record.images = {"plan"}, record.image_bytes = {jpeg};
  ProcessorConfig images;
  images.patch = model.patch, images.merge = 1;
  return best_of_three([&] { clip_picture(record, model.image, images); });
}

// FLOP/s of the search on this machine.
double measured_search(std::int64_t width) {
  constexpr std::int64_t rows = 2048, concepts = 8192, k = 10;
  const Tensor a({rows, width}, Dtype::f32, cpu()), b({concepts, width}, Dtype::f32, cpu());
  for (const Tensor& t : {a, b}) {
    const Philox random(1, "plan", static_cast<std::uint64_t>(t.dim(0)));
    for (std::int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = random.normal(static_cast<std::uint64_t>(i));
  }
  const Tensor ids({rows, k}, Dtype::i32, cpu()), scores({rows, k}, Dtype::f32, cpu());
  return 2.0 * rows * concepts * static_cast<double>(width) /
         best_of_three([&] { kernels::nearest({.ids = ids, .scores = scores, .a = a, .b = b}); });
}

}  // namespace

Exit plan_balancing(const Config& config, const ClipConfig& model) {
  if (config.text("plan.device").empty())
    input_error("plan.pictures needs plan.device, on what it is to run: a name in ", config.text("plan.devices"));
  const DeviceFacts device = find_device(shipped(config, "plan.devices"), config.text("plan.device"));
  const Dtype dtype = dtype_option(config);
  const std::int64_t ranks = config.integer("plan.ranks"), node = config.integer("plan.node");
  BalancePlanned p{
      .pictures = config.integer("plan.pictures"),
      .concepts = config.integer("plan.concepts"),
      .width = model.projection,
      .k = config.integer("balance.k"),
      .node = node > 0 ? node : std::max(device.node, 1),
      .memory = device.memory,
      .mfu = config.number("plan.mfu") > 0 ? config.number("plan.mfu") : device.mfu,
      .link = device.link,
      .storage = find_link(shipped(config, "plan.links"), config.text("plan.storage"), "plan.storage").rate,
      .peak = device.peak.at(name_of(dtype)),
      .search_peak = device.peak.at(name_of(Dtype::f32)),
      .host = device.measured};
  if (p.k > p.concepts) input_error("balance.k is ", p.k, ", more than plan.concepts ", p.concepts);
  const std::int64_t width = config.integer("plan.width"), height = config.integer("plan.height");
  const std::int64_t cores = config.integer("plan.cores");
  p.cores = static_cast<double>(cores > 0 ? cores
                                : p.host  ? threads()
                                          : guessed_cores * std::max<std::int64_t>(p.node, 1));
  config.refuse_unread("with plan.pictures");

  // What the engine's step of one pair passes forward, told apart by a step of a shorter text.
  const auto forward = [&](std::int64_t text) {
    return plan_clip(model, {.grids = {{1, 1, 1}}, .text_tokens = text, .dtype = dtype, .train = {}});
  };
  constexpr std::int64_t words = 8;  // of a concept in its sentence
  const Plan longer = forward(2 * words), shorter = forward(words);
  p.concept_flops = longer.forward_flops - shorter.forward_flops;
  p.picture_flops = shorter.forward_flops - p.concept_flops;
  p.encoder_bytes = static_cast<double>(shorter.parameters) * static_cast<double>(size_of(dtype));
  p.decode_seconds = measured_decoding(width, height, model);
  const bool measured = !(p.mfu > 0);
  if (measured) p.mfu = measured_search(p.width) / p.search_peak;

  std::string out = cat(device.about, p.node > 1 ? cat(", ", p.node, " a machine") : "", "; ", name_of(dtype),
                        measured ? "; the share of the peak is what the search reached just now\n" : "\n");
  out += cat("decoding was measured just now, a JPEG of ", width, " x ", height, " on one core of this machine",
             cores > 0 || p.host ? "" : cat("; ", guessed_cores, " cores a device are a guess, plan.cores says others"),
             "\n");
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
