#include "audit/plan.h"

#include <iomanip>
#include <sstream>

#include "audit/rehearsal.h"

namespace ov {
namespace {

// What ranks that divide a row look at. Placeholders of pictures: of picture p of P in segment p S / P, in order.
// Labels, spread over the row; a segment's first token has none.
void fill_row(MicroBatch& row, const Plan& plan, const ModelConfig& config, const PlanOptions& options) {
  for (std::int64_t& id : row.input_ids)
    if (id == config.image_token) id -= id > 0 ? 1 : -1;
  const std::int64_t merged = config.vision.merge * config.vision.merge;
  std::int64_t left = plan.patches / merged, at = 0;
  for (std::size_t p = 0; p < options.grids.size(); ++p) {
    const std::size_t segment = p * row.segments.size() / options.grids.size();
    at = std::max(at, std::min(row.segments[segment].begin, plan.tokens - left));
    const std::int64_t features = options.grids[p].patches() / merged;
    std::fill_n(row.input_ids.begin() + at, features, config.image_token);
    at += features, left -= features;
  }
  std::vector<std::size_t> may;
  for (const TokenSegment& s : row.segments)
    for (std::int64_t t = s.begin + 1; t < s.begin + s.length; ++t) may.push_back(static_cast<std::size_t>(t));
  for (std::int64_t r = 0; r < plan.labelled; ++r) {
    const std::size_t t = may[static_cast<std::size_t>(r * std::ssize(may) / plan.labelled)];
    row.labels[t] = row.input_ids[t];
  }
}

// Micro-batches of one causal row each, in equal segments; words are spread over the vocabulary, so that ranks that
// share it have as many each. Pixels stand on a device of their own, as the loader's stand on the host.
GlobalStep step_of(const Plan& plan, const ModelConfig& config, const PlanOptions& options, Device& host) {
  if (!options.rows.empty()) {
    GlobalStep step{.micro_batches = options.rows};
    for (const MicroBatch& row : options.rows) step.tokens += row.tokens(), step.samples += row.samples;
    return step;
  }
  const auto tokens = static_cast<std::size_t>(plan.tokens);
  MicroBatch row{.input_ids = std::vector<std::int64_t>(tokens),
                 .labels = std::vector(tokens, ignored_label),
                 .positions = std::vector<std::int64_t>(tokens),
                 .segments = {},
                 .pixel_values = {},
                 .grids = {},
                 .sample_of_segment = {},
                 .samples = options.segments};
  for (std::int64_t i = 0; i < plan.tokens; ++i)
    row.input_ids[static_cast<std::size_t>(i)] = i * config.text.vocabulary / plan.tokens;
  for (std::int64_t s = 0; s < options.segments; ++s) {
    const std::int64_t begin = plan.tokens * s / options.segments, end = plan.tokens * (s + 1) / options.segments;
    row.segments.push_back({begin, end - begin});
    row.sample_of_segment.push_back(s);
  }
  for (const Grid& g : options.grids) row.grids.push_back({g.t, g.h, g.w});
  if (options.train.context > 1) fill_row(row, plan, config, options);
  if (plan.patches > 0) row.pixel_values = Tensor({plan.patches, config.vision.patch_values()}, Dtype::f32, host);
  return {.micro_batches = std::vector(static_cast<std::size_t>(options.micro_batches), row)};
}

}  // namespace

std::int64_t Plan::Traffic::bytes() const {
  std::int64_t n = 0;
  for (const auto& [rank, sent_there] : sent) n += sent_there;
  return n;
}

Plan plan_model(const ModelConfig& given_config, const PlanOptions& given) {
  given_config.check();
  ModelConfig config = given_config;
  PlanOptions options = given;
  if (options.rows.empty()) config.image_token = std::min(config.image_token, config.text.vocabulary - 1);
  if (!options.rows.empty()) options.micro_batches = static_cast<std::int64_t>(options.rows.size());
  Plan plan;
  Rehearsal on(options, plan);
  for (const Grid& g : options.grids) plan.patches += g.patches();
  const std::int64_t image_tokens = plan.patches / (config.vision.merge * config.vision.merge);
  plan.tokens = image_tokens + options.text_tokens;
  if (!options.rows.empty()) plan.tokens = options.rows[0].tokens(), plan.patches = 0;
  // Products are counted in 64 bits; a row attends to itself, in segments.
  double pairs = static_cast<double>(plan.tokens) * static_cast<double>(plan.tokens) *
                 static_cast<double>(config.text.layers * config.text.heads * config.text.head_dim);
  for (const Grid& g : options.grids)
    pairs += static_cast<double>(g.patches()) * static_cast<double>(g.patches()) *
             static_cast<double>(config.vision.depth * config.vision.hidden);
  if (pairs * 16 * static_cast<double>(options.micro_batches) > 0x1p62)
    input_error("plan: rows of ", plan.tokens,
                " tokens need more products than are counted in 64 bits; plan shorter ones");
  const std::int64_t most =
      options.train.context > 1 && options.rows.empty() ? plan.tokens - options.segments : plan.tokens;
  plan.labelled = options.labelled > 0 ? options.labelled : most;
  if (plan.tokens < 1 && options.rows.empty()) input_error("plan: a row without tokens");
  if (plan.labelled > plan.tokens) input_error("plan: ", plan.labelled, " labelled of ", plan.tokens, " tokens");
  if (plan.labelled > most)
    input_error("plan.labelled ", plan.labelled, " with parallel.context ", options.train.context, ": a row of ",
                plan.tokens, " tokens in ", options.segments, " segments has at most ", most,
                ", as no segment's first token has a label");
  if (options.segments > std::max<std::int64_t>(1, plan.tokens))
    input_error("plan: ", options.segments, " segments of ", plan.tokens, " tokens");

  Onevision model(config, on.mesh.tensor, on.mesh.pipe, on.train.chunks, on.mesh.experts);
  model.recompute_blocks = options.recompute, model.recompute_first = options.recompute_first;
  plan.blocks = (config.has_tower ? config.vision.depth : 0) + config.text.layers;
  model.parameters().adapt(options.lora);
  model.parameters().allocate(options.dtype, on.device());
  SameSteps source(step_of(plan, config, options, on.outside));
  RehearsedLanguage objective(model, source, on, options.rows.empty() && on.train.context == 1 ? plan.labelled : 0);
  on.step(objective);
  return plan;
}

Plan plan_clip(const ClipConfig& config, const PlanOptions& options) {
  config.check("plan: ");
  Plan plan;
  Rehearsal on(options, plan);
  const auto pairs = static_cast<std::int64_t>(options.grids.size());
  if (pairs < 1) input_error("plan: a micro-batch without pairs; plan.images counts them");
  const std::int64_t text = std::min(options.text_tokens, config.max_positions);
  plan.patches = pairs * config.side() * config.side();
  plan.tokens = pairs * text;
  plan.labelled = pairs;

  ClipModel model(config);
  model.parameters().allocate(options.dtype, on.device());
  MicroBatch batch{.input_ids = std::vector<std::int64_t>(static_cast<std::size_t>(plan.tokens)),
                   .labels = {},
                   .positions = {},
                   .segments = {},
                   .pixel_values = Tensor({plan.patches, config.patch_values()}, Dtype::f32, on.outside),
                   .grids = {},
                   .sample_of_segment = {},
                   .samples = pairs};
  for (std::int64_t i = 0; i < pairs; ++i) batch.segments.push_back({i * text, text});
  SameSteps source({.micro_batches = std::vector(static_cast<std::size_t>(options.micro_batches), batch)});
  ContrastiveOptions contrastive;
  static_cast<StepOptions&>(contrastive) = on.train;
  ContrastiveObjective objective(model, source, contrastive);
  on.step(objective);
  for (Plan::Module& m : plan.modules)
    if (m.name == "decoder") m.name = "text tower";
  return plan;
}

namespace {

// The same annotated pictures again and again.
class SameRegions : public RegionSource {
 public:
  explicit SameRegions(RegionStep step) : step_(std::move(step)) {}
  RegionStep next() override { return step_; }
  const RegionLoaderState& state() const override { return state_; }
  void restore(const RegionLoaderState&) override {}
  std::string path() const override { return "plan"; }
  std::string labels() const override { return ""; }

 private:
  RegionStep step_;
  RegionLoaderState state_;
};

RegionStep region_step(const RegionPlan& rice, const PlanOptions& options, std::int64_t patches, Device& outside) {
  RegionStep step;
  std::int64_t object = 0, character = 0;
  for (std::int64_t m = 0; m < options.micro_batches; ++m) {
    RegionBatch batch;
    batch.pixel_values = Tensor({patches, rice.vision.patch_values()}, Dtype::f32, outside);
    for (std::size_t p = 0; p < options.grids.size(); ++p) {
      const Grid& g = options.grids[p];
      batch.grids.push_back({g.t, g.h, g.w});
      for (std::int64_t slot = 0; slot < rice.regions; ++slot) {
        Region region{.picture = static_cast<std::int64_t>(p),
                      .slot = slot,
                      .box = {0, 0, static_cast<double>(g.w), static_cast<double>(g.h)},
                      .label = {}};
        const bool text = slot < rice.strings;
        if (!text) region.label.object = object++ % rice.head.classes;
        for (std::int64_t k = 0; text && k < rice.labels; ++k)
          region.label.characters.push_back(character++ % rice.head.characters);
        batch.regions.push_back(region);
      }
    }
    step.micro_batches.push_back(std::move(batch));
  }
  step.pictures = options.micro_batches * static_cast<std::int64_t>(options.grids.size());
  step.patches = options.micro_batches * patches;
  step.texts = step.pictures * rice.strings, step.objects = step.pictures * (rice.regions - rice.strings);
  return step;
}

}  // namespace

Plan plan_region(const RegionPlan& rice, const PlanOptions& options) {
  rice.vision.check();
  if (options.grids.empty() || rice.regions < 1) input_error("plan: a micro-batch without regions");
  if (rice.strings < 0 || rice.strings > rice.regions)
    input_error("plan: ", rice.strings, " strings among ", rice.regions, " regions of a picture");
  if (rice.strings < rice.regions && rice.head.classes < 1) input_error("plan.classes: objects need at least 1");
  if (rice.strings > 0 && (rice.head.characters < 1 || rice.labels < 1))
    input_error("plan.characters: strings need at least 1, and data.labels_per_text a number");
  Plan plan;
  Rehearsal on(options, plan);
  for (const Grid& g : options.grids) plan.patches += g.patches();
  plan.labelled = static_cast<std::int64_t>(options.grids.size()) * rice.regions;

  RiceModel model(rice.vision, rice.head, on.mesh.experts);
  model.recompute_blocks = options.recompute, model.recompute_first = options.recompute_first;
  plan.blocks = rice.vision.depth;
  model.parameters().allocate(options.dtype, on.device());
  SameRegions source(region_step(rice, options, plan.patches, on.outside));
  RegionTrainOptions train;
  static_cast<StepOptions&>(train) = on.train;
  train.objects = rice.objects, train.characters = rice.characters;
  RehearsedRegions objective(on, model, source, train);
  on.step(objective);
  return plan;
}

namespace {

// 123456 -> "123 456".
std::string grouped(std::int64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t i = digits.size(); i > 3;) digits.insert(i -= 3, 1, ' ');
  return digits;
}

}  // namespace

std::string Plan::report() const {
  std::ostringstream out;
  const auto line = [&](const std::string& name, const std::string& value, const std::string& more = "") {
    out << "  " << std::left << std::setw(16) << name << std::right << std::setw(22) << value << more << "\n";
  };
  out << "parameters\n";
  for (const Module& m : modules)
    line(m.name, grouped(m.parameters),
         cat("  in ", m.tensors, " tensors", m.trained == m.parameters ? "" : ", trained " + grouped(m.trained)));
  line("all", grouped(parameters),
       cat("  in ", tensors, " tensors", trained == parameters ? "" : ", trained " + grouped(trained)));
  const std::string step = cat(
      micro_batches == 1 ? "one micro-batch" : cat(micro_batches, " micro-batches"), " of ",
      tokens > 0 ? cat(tokens, " tokens (", patches, " patches)") : cat(labelled, " regions (", patches, " patches)"));
  out << "bytes at their highest, a step of " << step << "\n";
  for (int s = 0; s < segment_count; ++s)
    line(name_of(static_cast<Segment>(s)), grouped(memory.peak[static_cast<std::size_t>(s)]));
  line("all at once", grouped(memory.total_peak));
  if (host.total_peak > 0) line("on the host", grouped(host.total_peak), "  of the optimiser");
  const auto teraflops = [](double flops) {
    std::ostringstream s;
    s << std::fixed << std::setprecision(6) << flops / 1e12;
    return s.str();
  };
  out << "TFLOP of that step, products and attention only, " << labelled
      << (tokens > 0 ? " rows through the head\n" : " regions\n");
  line("forward", teraflops(forward_flops));
  line("backward", teraflops(backward_flops));
  if (recomputed_flops > 0) line("recomputed", teraflops(recomputed_flops));
  return out.str();
}

}  // namespace ov
