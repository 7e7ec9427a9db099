#include "model/region_head.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace ov {

void RegionHeadConfig::check() const {
  const auto at_least = [](const char* name, std::int64_t value, std::int64_t least) {
    if (value < least) input_error("region head: ", name, " is ", value, ", expected at least ", least);
  };
  at_least("layers", layers, 1);
  at_least("embedding", embedding, 0);
  at_least("classes", classes, 0);
  at_least("characters", characters, 0);
  at_least("blocks", blocks, 1);
  if (classes + characters == 0) input_error("region head: no classes and no characters, nothing to tell apart");
  if (!(min_overlap >= 0 && min_overlap <= 1))
    input_error("region head: min_overlap is ", min_overlap, ", expected 0 to 1");
}

namespace {

// Length of what [a, b) and the unit cell that starts at `cell` have in common.
double overlap(double a, double b, std::int64_t cell) {
  const auto c = static_cast<double>(cell);
  return std::max(0.0, std::min(b, c + 1) - std::max(a, c));
}

std::int64_t cell_of(double x, std::int64_t cells) {
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(x)), 0, cells - 1);
}

}  // namespace

kernels::RegionTable visible_rows(const std::vector<Grid>& grids, const VisionLayout& layout,
                                  const std::vector<RegionBox>& regions, const RegionHeadConfig& config) {
  kernels::RegionTable table;
  for (std::size_t i = 0; i < regions.size(); ++i) {
    const RegionBox& b = regions[i];
    if (b.picture < 0 || b.picture >= static_cast<std::int64_t>(grids.size()) || !(b.x1 < b.x2 && b.y1 < b.y2))
      input_error("region ", i, ": picture ", b.picture, " of ", grids.size(), ", box [", b.x1, ", ", b.y1, ", ", b.x2,
                  ", ", b.y2, "]");
    const auto picture = static_cast<std::size_t>(b.picture);
    const Grid& grid = grids[picture];
    const std::int64_t row = cell_of((b.y1 + b.y2) / 2, grid.h), column = cell_of((b.x1 + b.x2) / 2, grid.w);
    const kernels::SegmentRow& rows = layout.segments->host[picture];
    for (std::int64_t n = rows.q_begin; n < rows.q_begin + rows.q_length; ++n) {
      const auto at = static_cast<std::size_t>(2 * n);
      const std::int64_t y = layout.places[at], x = layout.places[at + 1];
      if (y < 0) {
        if (config.class_token_key) table.rows.push_back(n);
        continue;
      }
      const double covered = overlap(b.x1, b.x2, x) * overlap(b.y1, b.y2, y);
      if ((covered > 0 && covered >= config.min_overlap) || (y == row && x == column)) table.rows.push_back(n);
    }
    table.begin.push_back(static_cast<std::int64_t>(table.rows.size()));
  }
  return table;
}

RegionLayer::RegionLayer(Parameters& set, const std::string& name, const VisionConfig& v, const RegionHeadConfig& c)
    : name(name),
      heads(v.heads),
      head_dim(v.head_dim()),
      norm_q(set, name + ".norm_q", v.hidden, v.block_norm_eps),
      norm_kv(set, name + ".norm_kv", v.hidden, v.block_norm_eps),
      q(set, name + ".attn.q", v.hidden, v.hidden, true),
      kv(set, name + ".attn.kv", 2 * v.hidden, v.hidden, true),
      proj(set, name + ".attn.proj", v.hidden, v.hidden, true, Role::projection_out) {
  if (!c.mlp) return;
  norm2 = LayerNorm(set, name + ".norm2", v.hidden, v.block_norm_eps);
  fc1 = Linear(set, name + ".mlp.fc1", v.intermediate, v.hidden, true);
  fc2 = Linear(set, name + ".mlp.fc2", v.hidden, v.intermediate, true, Role::projection_out);
}

Var RegionLayer::forward(const Var& q_RC, const Var& e_NC, const Step& step) const {
  const Shape per_head{heads, head_dim};
  const auto kv_NHD = split(kv(norm_kv(e_NC)), {per_head, per_head});
  Var k = kv_NHD[0], query = view(q(norm_q(q_RC)), {q_RC.dim(0), heads, head_dim});
  if (step.key_angles.cos) {
    k = rope(k, step.key_angles);
    query = rope(query, step.query_angles);
  }
  const Var o = region_attention(query, k, kv_NHD[1], step.table, 1 / std::sqrt(static_cast<double>(head_dim)));
  const Var h = q_RC + named(name + ".attn", proj(view(o, q_RC.shape())));
  return named(name, fc1.w ? h + fc2(gelu(fc1(norm2(h)))) : h);
}

namespace {

// One parameter, or as many as there are blocks, each with its rank.
std::vector<Parameter*> class_table(Parameters& set, const std::string& name, std::int64_t classes,
                                    const RegionHeadConfig& c) {
  std::vector<Parameter*> table;
  if (classes == 0) return table;
  const ClassBlocks blocks{classes, std::min(c.blocks, classes), set.experts().ranks()};
  for (std::int64_t b = 0; b < blocks.blocks; ++b) {
    if (blocks.ranks > 1) set.of_rank(blocks.holder(b));
    table.push_back(set.declare(blocks.blocks == 1 ? name : cat(name, ".", b), {blocks.rows(b).size(), c.embedding},
                                Role::embedding));
  }
  set.of_rank(-1);
  return table;
}

}  // namespace

RegionHead::RegionHead(Parameters& set, const VisionConfig& v, const RegionHeadConfig& c)
    : config(c),
      probe(c.query == RegionQuery::learned ? set.declare("region_head.probe", {1, v.hidden}, Role::class_vector)
                                            : nullptr) {
  config.check();
  if (config.embedding == 0) config.embedding = v.hidden;
  for (std::int64_t i = 0; i < c.layers; ++i)
    layers.emplace_back(set, "region_head.layers." + std::to_string(i), v, config);
  norm = LayerNorm(set, "region_head.norm", v.hidden, v.block_norm_eps);
  out = Linear(set, "region_head.out", config.embedding, v.hidden, false);
  if (const int n = set.experts().ranks(); n > c.blocks)
    input_error("parallel.classes ", n, ": rice.class_blocks is ", c.blocks,
                ", and a rank holds whole blocks; give at least ", n);
  class_centres = class_table(set, "region_head.class_centres", c.classes, config);
  character_centres = class_table(set, "region_head.character_centres", c.characters, config);
}

Var RegionHead::forward(const Var& e_NC, const std::vector<Grid>& grids, const VisionLayout& layout,
                        const std::vector<RegionBox>& regions, const RiceVit& tower) const {
  Device& device = e_NC.value.device();
  const auto R = static_cast<std::int64_t>(regions.size());
  RegionLayer::Step step;
  step.table =
      std::make_shared<kernels::RegionSegments>(visible_rows(grids, layout, regions, config), e_NC.dim(0), device);
  if (config.rope) {
    const Var angles = on_tape_of(e_NC, tower.class_pos_emb);
    step.key_angles = rope_table_2d(layout.positions, *tower.inv_freq, angles);
    const std::vector<std::int64_t> class_token(static_cast<std::size_t>(2 * R), -1);
    step.query_angles =
        rope_table_2d(index_tensor("class tokens", class_token, {R, 2}, -1, 0, device), *tower.inv_freq, angles);
  }

  std::vector<std::int64_t> source;
  for (const RegionBox& b : regions)
    source.push_back(probe ? 0 : layout.segments->host[static_cast<std::size_t>(b.picture)].q_begin);
  const Var rows = probe ? on_tape_of(e_NC, probe) : e_NC;
  Var h = embedding(index_tensor("region queries", source, {R}, 0, rows.dim(0), device), rows);
  for (const RegionLayer& layer : layers) h = layer.forward(h, e_NC, step);
  return named("region_head", out(norm(h)));
}

RiceModel::RiceModel(const VisionConfig& vision, const RegionHeadConfig& head, Communicator& sharing)
    : parameters_(one_rank(), one_rank(), sharing),
      tower_(parameters_.in(Module::vision_model), vision),
      head_(parameters_.in(Module::region_head), vision, head) {}

void RiceModel::initialize(const InitOptions& options, std::uint64_t seed) {
  std::set<std::string> of_blocks;
  for (const auto& [name, table] : {std::pair{"region_head.class_centres", &head_.class_centres},
                                    std::pair{"region_head.character_centres", &head_.character_centres}}) {
    if (table->size() < 2 || !parameters_.device().has_data()) continue;
    std::int64_t classes = 0;
    for (const auto& e : parameters_.entries())
      if (std::count(table->begin(), table->end(), &e.parameter) > 0)
        classes += e.whole[0], of_blocks.insert(e.parameter.name);
    const ClassBlocks blocks{classes, std::ssize(*table), parameters_.experts().ranks()};
    const Tensor whole({classes, head_.config.embedding}, parameters_.dtype(), cpu(), Segment::workspace);
    draw({.name = name, .value = {}, .role = Role::embedding}, whole, options, seed);
    const Range here = blocks.of_rank(parameters_.experts().rank());
    for (std::int64_t b = here.begin; b < here.end; ++b)
      (*table)[static_cast<std::size_t>(b)]->value.copy_from(whole.slice(0, blocks.rows(b).begin, blocks.rows(b).end));
  }
  ov::initialize(parameters_, options, seed, [&](const std::string& name) { return of_blocks.count(name) == 0; });
}

Var RiceModel::regions(Tape* tape, const Tensor& pixel_values, const std::vector<Grid>& grids,
                       const std::vector<RegionBox>& regions) const {
  check_patches(grids, pixel_values.dim(0));
  const VisionLayout layout(grids, tower_.config.merge, false, parameters_.device());
  const Var pixels = pixels_on(tape, pixel_values, parameters_);
  return head_.forward(tower_.rows(pixels, layout, recompute_blocks ? recompute_first : 0), grids, layout, regions,
                       tower_);
}

}  // namespace ov
