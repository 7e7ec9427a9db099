#include "train/objectives/language_context.h"

#include <algorithm>

#include "tensor/read_back.h"

namespace ov {
namespace {

double real(std::int64_t n) { return static_cast<double>(n); }

// Multiply-adds of a forward pass, about.
ContextCosts costs_of(const ModelConfig& c, const std::vector<Grid>& grids) {
  const TextConfig& t = c.text;
  const VisionConfig& v = c.vision;
  ContextCosts costs{0, 2 * real(t.layers * t.heads * t.head_dim), {}};
  for (std::int64_t i = 0; i < t.layers; ++i)
    costs.token +=
        real(t.hidden) * real(2 * (t.heads + t.kv_heads) * t.head_dim +
                              3 * (t.is_moe(i) ? t.experts_per_token * t.expert_intermediate : t.intermediate));
  costs.token += real(t.hidden * t.vocabulary) / 2;  // half of them have a label
  for (const Grid& g : grids) {
    const double frame = real(g.h * g.w), merged = real(v.merge * v.merge * v.hidden),
                 patch = real(v.depth * v.hidden) * (4 * real(v.hidden) + 2 * real(v.intermediate)) +
                         merged * (merged + real(t.hidden)) / real(v.merge * v.merge),
                 segment = c.per_frame ? frame : real(g.t) * frame;
    costs.pictures.push_back(real(g.t) * frame * (patch + 2 * real(v.depth * v.hidden) * segment));
  }
  return costs;
}

}  // namespace

std::int64_t whole_tokens(const MicroBatch& batch, const SharedContext& context) {
  return context ? context->tokens : batch.tokens();
}

Tensor whole_counts(const Routers& routers, const SharedContext& context) {
  const Tensor counts = expert_counts(routers.offsets);
  if (!context) return counts;
  const Tensor here = read_back(counts);
  context->ranks->all_reduce(here);
  return here.to(counts.device());
}

SharedRow shared_row(const ModelConfig& config, const MicroBatch& batch, const LossTargets& targets, int ranks) {
  ContextRow row;
  for (const TokenSegment& s : batch.segments) row.segments.push_back({s.begin, s.length, s.begin, s.length, s.prefix});
  std::vector<Grid> grids;
  std::int64_t features = 0;
  for (const auto& g : batch.grids) {
    grids.push_back({g[0], g[1], g[2]});
    row.of_pictures.push_back(grids.back().patches() / (config.vision.merge * config.vision.merge));
    features += row.of_pictures.back();
  }
  if (config.has_tower) row.features = image_sources(batch.input_ids, config.image_token, features);
  else row.features.assign(batch.input_ids.size(), -1);
  SharedRow shared{ContextPlan(row, costs_of(config, grids), ranks), {}};
  for (const auto& tokens : shared.plan.tokens) {
    shared.labelled.emplace_back();
    for (std::size_t i = 0; i < targets.rows.size(); ++i)
      if (std::binary_search(tokens.begin(), tokens.end(), targets.rows[i])) shared.labelled.back().push_back(i);
  }
  return shared;
}

RowPart part_of(const SharedRow& row, const MicroBatch& batch, const LossTargets& targets, Communicator& ranks,
                Device& device) {
  const auto own = static_cast<std::size_t>(ranks.rank());
  RowPart part;
  part.context = std::make_shared<ContextPart>(row.plan, ranks, device);
  for (const std::int64_t token : row.plan.tokens[own]) {
    const auto t = static_cast<std::size_t>(token);
    if (targets.targets[t] != ignored_label) part.targets.rows.push_back(part.batch.tokens());
    part.batch.input_ids.push_back(batch.input_ids[t]);
    part.batch.positions.push_back(batch.positions[t]);
    part.targets.targets.push_back(targets.targets[t]);
    part.targets.weights.push_back(targets.weights[t]);
  }
  std::vector<std::int64_t> first = {0};  // row of every picture
  for (const auto& g : batch.grids) first.push_back(first.back() + g[0] * g[1] * g[2]);
  std::int64_t rows = 0;
  const auto patches = [&](std::int64_t p) {
    const auto i = static_cast<std::size_t>(p);
    return batch.pixel_values.slice(0, first[i], first[i + 1]);
  };
  for (const std::int64_t p : row.plan.pictures[own]) {
    part.batch.grids.push_back(batch.grids[static_cast<std::size_t>(p)]);
    rows += patches(p).dim(0);
  }
  if (rows == 0) return part;
  part.batch.pixel_values =
      Tensor({rows, batch.pixel_values.dim(1)}, batch.pixel_values.dtype(), batch.pixel_values.device(), Segment::data);
  rows = 0;
  for (const std::int64_t p : row.plan.pictures[own]) {
    part.batch.pixel_values.slice(0, rows, rows + patches(p).dim(0)).copy_from(patches(p));
    rows += patches(p).dim(0);
  }
  return part;
}

}  // namespace ov
