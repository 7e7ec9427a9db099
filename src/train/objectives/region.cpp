#include "train/objectives/region.h"

#include <cstdio>

#include "base/sum.h"
#include "train/checksums.h"
#include "train/objectives/class_turn.h"

namespace ov {
namespace {

double ratio(double part, std::int64_t whole) { return whole > 0 ? part / static_cast<double>(whole) : 0; }

}  // namespace

RegionObjective::RegionObjective(RiceModel& model, RegionSource& data, const RegionTrainOptions& options)
    : model_(model), source_(data), options_(options), after_(data.state()) {
  model.parameters().train([](const Parameter&) { return true; });
}

void RegionObjective::prefetch() {
  Prepared p;
  try {
    p.data = source_.next();
    p.loader = source_.state();
  } catch (...) { p.error = std::current_exception(); }
  ahead_ = std::move(p);
}

RegionObjective::Table RegionObjective::table(bool text, std::int64_t classes, const ClusterOptions& o,
                                              std::int64_t step) const {
  Table t;
  if (classes == 0) return t;
  std::vector<LabelledRow> all;
  for (const RegionBatch& b : data_.micro_batches) {
    t.rows.push_back(labelled_rows(b.regions, text, o.softmax));
    all.insert(all.end(), t.rows.back().begin(), t.rows.back().end());
    for (const LabelledRow& row : t.rows.back())
      if (o.weight > 0) t.labels += o.softmax ? 1 : row.different;
  }
  t.draws.emplace(classes, o.density, !text || o.softmax, all, options_.seed,
                  text ? "character sampling" : "class sampling", static_cast<std::uint64_t>(step));
  return t;
}

Loaded RegionObjective::prepare(std::int64_t step) {
  if (!ahead_) prefetch();
  Prepared p = std::move(*ahead_);
  ahead_.reset();
  if (p.error) std::rethrow_exception(p.error);
  data_ = std::move(p.data);
  after_ = std::move(p.loader);
  const RegionHeadConfig& head = model_.head().config;
  objects_ = table(false, head.classes, options_.objects, step);
  texts_ = table(true, head.characters, options_.characters, step);
  Loaded loaded{.leaves = static_cast<std::int64_t>(data_.micro_batches.size()),
                .samples = data_.pictures,
                .tokens = 0,
                .patches = data_.patches,
                .denominators = {data_.objects, data_.texts}};
  for (const RegionBatch& b : data_.micro_batches) loaded.sizes.push_back(b.pixel_values ? b.pixel_values.dim(0) : 0);
  return loaded;
}

void RegionObjective::normalise(const std::vector<std::int64_t>& denominators) {
  objects_.regions = denominators.at(0);
  texts_.regions = denominators.at(1);
}

std::int64_t RegionObjective::Table::scalars() const {
  return draws ? static_cast<std::int64_t>(draws->draws().size()) + 1 : 0;
}

std::int64_t RegionObjective::scalars() const {
  return static_cast<std::int64_t>(data_.micro_batches.size()) * (objects_.scalars() + texts_.scalars());
}

Var RegionObjective::directions(const RegionBatch& batch, Tape& tape) const {
  std::vector<Grid> grids;
  for (const auto& g : batch.grids) grids.push_back({g[0], g[1], g[2]});
  std::vector<RegionBox> boxes;
  for (const Region& r : batch.regions) boxes.push_back({r.picture, r.box.x1, r.box.y1, r.box.x2, r.box.y2});
  return l2_normalize(model_.regions(&tape, batch.pixel_values, grids, boxes));
}

void RegionObjective::run(std::int64_t leaf, Tape& tape, const Tensor& scalars) {
  const RegionHead& head = model_.head();
  if (model_.parameters().experts().ranks() > 1 || head.class_centres.size() > 1 || head.character_centres.size() > 1)
    return run_in_turn(leaf, tape, scalars);
  const auto at = static_cast<std::size_t>(leaf);
  const RegionBatch& batch = data_.micro_batches[at];
  if (batch.regions.empty()) return;  // every picture of it is faulty
  const Var rows = directions(batch, tape);
  std::vector<Var> losses;
  std::int64_t next = leaf * (objects_.scalars() + texts_.scalars());
  const auto discriminate = [&](Table& table, const std::vector<Parameter*>& centres, const ClusterOptions& options) {
    const std::int64_t begin = std::exchange(next, next + table.scalars());
    if (!table.draws || table.regions == 0) return;
    ClusterResult result = cluster_discrimination(rows, on_tape_of(rows, centres[0]), table.rows[at], *table.draws,
                                                  options, table.regions, scalars.slice(0, begin, next));
    losses.insert(losses.end(), result.losses.begin(), result.losses.end());
  };
  discriminate(objects_, head.class_centres, options_.objects);
  discriminate(texts_, head.character_centres, options_.characters);
  backward_from(tape, losses);
}

// The same where ranks share the tables, or where a table has several blocks. A rank without a region, or without a
// leaf (-1), has its part of the others'.
void RegionObjective::run_in_turn(std::int64_t leaf, Tape& tape, const Tensor& scalars) {
  const RegionHead& head = model_.head();
  ClassTurn turn{model_.parameters().experts(), {}, leaf, {}, options_.tree};
  for (const RegionBatch& b : data_.micro_batches) turn.regions_of_leaf.push_back(std::ssize(b.regions));
  std::int64_t next = std::max<std::int64_t>(0, leaf) * (objects_.scalars() + texts_.scalars());
  const auto add = [&](const Table& table, const std::vector<Parameter*>& centres, const ClusterOptions& options) {
    const std::int64_t begin = std::exchange(next, next + table.scalars());
    if (!table.draws || table.regions == 0 || options.weight == 0) return;
    turn.tables.push_back({&centres, &*table.draws, &options, &table.rows, table.regions,
                           leaf < 0 ? Tensor() : scalars.slice(0, begin, next)});
  };
  add(objects_, head.class_centres, options_.objects);
  add(texts_, head.character_centres, options_.characters);
  const bool any = leaf >= 0 && turn.regions_of_leaf[static_cast<std::size_t>(leaf)] > 0;
  const Var rows = any ? directions(data_.micro_batches[static_cast<std::size_t>(leaf)], tape)
                       : Var{Tensor({0, head.config.embedding}, parameters().dtype(), parameters().device())};
  const Tensor gradient = discriminate_in_turn(turn, rows.value, tape);
  if (any) tape.backward(rows, gradient);
}

Losses RegionObjective::losses(std::span<const double> scalars) {
  struct Sums {
    std::vector<double> losses;  // by batch, without the weight
    double hits = 0;
    double loss() const {
      return sum<double>(static_cast<std::int64_t>(losses.size()), [&](std::int64_t b) { return losses.data()[b]; });
    }
  } of_objects, of_texts;
  const double* next = scalars.data();
  const auto read = [&](const Table& table, double weight, Sums& sums) {
    double loss = 0;
    for (std::int64_t draw = 1; draw < table.scalars(); ++draw, ++next)
      if (weight > 0) loss += *next / weight;
    sums.losses.push_back(loss);
    if (table.draws) sums.hits += *next++;
  };
  for (std::size_t b = 0; b < data_.micro_batches.size(); ++b) {
    read(objects_, options_.objects.weight, of_objects);
    read(texts_, options_.characters.weight, of_texts);
  }
  const double objects = of_objects.loss(), texts = of_texts.loss();
  const std::int64_t classes = objects_.labels, characters = texts_.labels;
  const double accuracy = ratio(of_objects.hits, classes), recall = ratio(of_texts.hits, characters);
  Losses out;
  out.loss = options_.objects.weight * objects + options_.characters.weight * texts;
  out.labelled = classes + characters;
  out.parts = Json::object({{"object_loss", objects},
                            {"text_loss", texts},
                            {"objects", data_.objects},
                            {"texts", data_.texts},
                            {"object_accuracy", accuracy},
                            {"text_recall", recall}});
  char note[96];
  std::snprintf(note, sizeof note, "loss %.3f  objects %.0f%%  characters %.0f%%", out.loss, 100 * accuracy,
                100 * recall);
  out.note = note;
  return out;
}

std::uint64_t RegionObjective::batch_checksum() const {
  ChecksumOfArrays sum;
  for (const RegionBatch& b : data_.micro_batches) {
    if (b.pixel_values) sum.add(b.pixel_values.data<float>(), b.pixel_values.numel());
    for (const Region& r : b.regions) {
      for (const double side : {r.box.x1, r.box.y1, r.box.x2, r.box.y2}) sum.add(&side, 1);
      sum.add(&r.label.object, 1);
      sum.add(r.label.characters.data(), static_cast<std::int64_t>(r.label.characters.size()));
    }
  }
  return sum.value;
}

Json RegionObjective::state() const { return Json::object({{"loader", after_.json()}, {"labels", source_.labels()}}); }

void RegionObjective::restore(const Json& state) {
  if (state.at("labels").as_string() != source_.labels())
    input_error(source_.path(), ": its classes or characters are not those of the checkpoint");
  after_ = RegionLoaderState::from_json(state.at("loader"), "loader state");
  source_.restore(after_);
  ahead_.reset();
}

}  // namespace ov
