#include "train/region_trainer.h"

#include <chrono>
#include <cmath>

#include "base/hash.h"
#include "base/parallel.h"
#include "base/sum.h"
#include "train/checksums.h"
#include "train/gradient_sum.h"
#include "train/run_log.h"

namespace ov {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::uint64_t batch_checksum(const RegionStep& step) {
  ChecksumOfArrays sum;
  for (const RegionBatch& b : step.micro_batches) {
    if (b.pixel_values) sum.add(b.pixel_values.data<float>(), b.pixel_values.numel());
    for (const Region& r : b.regions) {
      for (const double side : {r.box.x1, r.box.y1, r.box.x2, r.box.y2}) sum.add(&side, 1);
      sum.add(&r.label.object, 1);
      sum.add(r.label.characters.data(), static_cast<std::int64_t>(r.label.characters.size()));
    }
  }
  return sum.value;
}

// One of the two tables over a whole step: which rows its batches have, and which classes are drawn for them.
struct Table {
  Table(const RegionStep& step, bool text, std::int64_t classes, const ClusterOptions& o, std::uint64_t seed,
        std::int64_t index)
      : options(o), regions(text ? step.texts : step.objects) {
    if (classes == 0) return;
    std::vector<LabelledRow> all;
    for (const RegionBatch& b : step.micro_batches) {
      rows.push_back(labelled_rows(b.regions, text, o.softmax));
      all.insert(all.end(), rows.back().begin(), rows.back().end());
    }
    const bool join = !text || o.softmax;
    draws.emplace(classes, o.density, join, all, seed, text ? "character sampling" : "class sampling",
                  static_cast<std::uint64_t>(index));
  }
  ClusterResult loss(const Var& directions, const Var& centres, std::size_t batch) const {
    if (!draws || regions == 0) return {};
    return cluster_discrimination(directions, centres, rows[batch], *draws, options, regions);
  }

  const ClusterOptions& options;
  std::int64_t regions;
  std::vector<std::vector<LabelledRow>> rows;  // by batch
  std::optional<ClassDraws> draws;
};

struct BatchResult {
  ClusterResult objects, texts;
  std::int64_t products = 0;
  BatchTimes times;
};

// Forward and backward of one micro-batch; adds to `gradients`.
BatchResult run_batch(const RiceModel& model, const RegionBatch& batch, std::size_t index, const Table& objects,
                      const Table& texts, const Tensor& gradients, Floor* floor) {
  const Parameters& parameters = model.parameters();
  const Dtype dtype = parameters.dtype();
  if (batch.regions.empty()) return {};  // every picture of it is faulty
  Tape tape;
  OpTimes times;
  if (floor) tape.measure(&times);
  tape.redirect_gradients(
      [&](const Parameter& p) { return p.trainable ? parameters.gradient_slice(gradients, p) : Tensor(); });

  const Tensor pixels =
      batch.pixel_values.dtype() == dtype ? batch.pixel_values : batch.pixel_values.to(dtype, Segment::data);
  std::vector<Grid> grids;
  for (const auto& g : batch.grids) grids.push_back({g[0], g[1], g[2]});
  std::vector<RegionBox> boxes;
  for (const Region& r : batch.regions) boxes.push_back({r.picture, r.box.x1, r.box.y1, r.box.x2, r.box.y2});

  const Var directions = l2_normalize(model.regions(&tape, pixels, grids, boxes));
  const auto centres = [&](Parameter* p) { return on_tape_of(directions, p); };
  BatchResult result;
  result.objects = objects.loss(directions, centres(model.head().class_centres), index);
  result.texts = texts.loss(directions, centres(model.head().character_centres), index);

  std::vector<Var> losses = result.objects.losses;
  losses.insert(losses.end(), result.texts.losses.begin(), result.texts.losses.end());
  if (floor) result.times.floor = floor->micro_batch(tape.nodes(), size_of(dtype));
  const Tensor one({1}, accum_dtype(dtype), parameters.device());
  by_dtype(one.dtype(), [&](auto v) { one.data<decltype(v)>()[0] = decltype(v)(1); });
  tape.backward(losses, std::vector<Tensor>(losses.size(), one));
  result.times.ops = times.seconds;
  result.products = tape.forward_products() + tape.backward_products();
  result.objects.losses.clear(), result.texts.losses.clear();  // they name this tape
  return result;
}

std::string fingerprint(const RegionFile& file) {
  std::uint64_t hash = fnv1a("regions");
  for (const auto* names : {&file.classes(), &file.characters()})
    for (const std::string& name : *names) hash = fnv1a(name, fnv1a("\n", hash));
  return hex16(hash);
}

double ratio(std::int64_t part, std::int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

}  // namespace

RegionTrainer::RegionTrainer(RiceModel& model, RegionLoader& data, const RegionTrainOptions& options)
    : model_(model), data_(data), options_(options), loader_state_(data.state()) {
  options_.schedule.steps = options.steps;
  model.parameters().train([](const std::string&) { return true; });
  optimizer_ = std::make_unique<Optimizer>(model.parameters(), options.optimizer);
  if (options.floor) floor_ = std::make_unique<Floor>();
}

RegionTrainer::Prepared RegionTrainer::prepare() {
  Prepared p;
  try {
    p.data = data_.next();
    p.loader = data_.state();
  } catch (...) { p.error = std::current_exception(); }
  return p;
}

RegionStepReport RegionTrainer::step() {
  RegionStepReport report;
  const double start = now();
  if (!prepared_) prepared_ = prepare();
  const Prepared current = std::move(*prepared_);
  prepared_.reset();
  if (current.error) std::rethrow_exception(current.error);
  const RegionStep& data = current.data;
  report.step.data_seconds = now() - start;

  const RegionHeadConfig& head = model_.head().config;
  const Table objects(data, false, head.classes, options_.objects, options_.seed, done_),
      texts(data, true, head.characters, options_.characters, options_.seed, done_);
  const auto n = static_cast<std::int64_t>(data.micro_batches.size());
  const Parameters& parameters = model_.parameters();
  TreeSum tree(parameters.gradients().shape(), parameters.gradients().dtype(), parameters.device());
  std::vector<BatchResult> results(static_cast<std::size_t>(n));
  // At most two micro-batches a thread at a time, since they differ in length, each with a gradient of its own; beside
  // the last ones the next step is prepared. One alone has all threads to itself.
  const std::int64_t width = std::max(1, threads()), most = width == 1 ? 1 : 2 * width;
  const bool more = done_ + 1 < options_.steps;
  for (std::int64_t i = 0, together; i < n; i += together) {
    together = n - i < width ? n - i : std::min(most, (n - i) / width * width);
    std::vector<Tensor> leaves;
    for (std::int64_t k = 0; k < together; ++k) leaves.push_back(tree.leaf());
    const auto run = [&](std::int64_t k) {
      const auto b = static_cast<std::size_t>(i + k);
      if (k == together) {
        prepared_ = prepare();
        return;
      }
      const Tensor& gradients = leaves[static_cast<std::size_t>(k)];
      gradients.zero();
      results[b] = run_batch(model_, data.micro_batches[b], b, objects, texts, gradients, floor_.get());
    };
    const bool prepares = more && i + together == n;
    if (together > 1) parallel_for(together + prepares, run);
    else
      for (std::int64_t k = 0; k < together + prepares; ++k) run(k);
    for (const Tensor& leaf : leaves) tree.add(leaf);
  }
  gradients_ = tree.finish();

  const auto total = [&](auto value) {
    return ov::sum<double>(
        n, [&](std::int64_t i) { return static_cast<double>(value(results[static_cast<std::size_t>(i)])); });
  };
  const auto count = [&](auto value) { return static_cast<std::int64_t>(total(value)); };
  report.object_loss = total([](const BatchResult& r) { return r.objects.loss; });
  report.text_loss = total([](const BatchResult& r) { return r.texts.loss; });
  report.objects = data.objects;
  report.texts = data.texts;
  const std::int64_t classes = count([](const BatchResult&r) { return r.objects.labels; }),
                     characters = count([](const BatchResult&r) { return r.texts.labels; });
  report.object_accuracy = ratio(count([](const BatchResult& r) { return r.objects.hits; }), classes);
  report.text_recall = ratio(count([](const BatchResult& r) { return r.texts.hits; }), characters);

  StepReport& s = report.step;
  s.loss = options_.objects.weight * report.object_loss + options_.characters.weight * report.text_loss;
  s.token_loss = s.loss;
  s.labelled = classes + characters;
  s.products = count([](const BatchResult& r) { return r.products; });
  const bool checksums = options_.checksum_every > 0 && (done_ + 1) % options_.checksum_every == 0;
  if (checksums) s.checksums = Checksums{batch_checksum(data), checksum(&s.loss, 1), tensor_checksum(gradients_), 0};
  const double before_update = now();
  s.lr = options_.schedule.rate(done_);
  s.gradient_norm = optimizer_->step(gradients_, s.lr);
  const double update_seconds = now() - before_update;
  if (!std::isfinite(s.loss) || !std::isfinite(s.gradient_norm)) {
    std::string where = "in the loss";
    for (const auto& e : parameters.entries())
      if (!std::isfinite(gradient_norm(parameters.gradient_slice(gradients_, e.parameter).flat()))) {
        where = "first in the gradient of " + e.parameter.name;
        break;
      }
    machine_error("pretrain: step ", done_ + 1, ": not a finite number; ", where);
  }
  if (checksums) s.checksums->parameters = tensor_checksum(parameters.values());
  s.step = ++done_;
  loader_state_ = current.loader;
  s.samples = data.pictures;
  s.patches = data.patches;
  s.seconds = now() - start;
  if (floor_) {
    std::vector<BatchTimes> times;
    for (const BatchResult& r : results) times.push_back(r.times);
    s.floor_seconds = times_.add(
        {s.seconds, s.data_seconds, update_seconds, floor_->update(parameters.gradients().numel(), n)}, times);
  }
  return report;
}

TrainingState RegionTrainer::state() {
  return {model_.parameters(), *optimizer_, done_,
          Json::object({{"loader", loader_state_.json()}, {"labels", fingerprint(data_.file())}})};
}

void RegionTrainer::restore(const TrainingState& state) {
  if (state.data.at("labels").as_string() != fingerprint(data_.file()))
    input_error(data_.file().path(), ": its classes or characters are not those of the checkpoint");
  loader_state_ = RegionLoaderState::from_json(state.data.at("loader"), "loader state");
  data_.restore(loader_state_);
  prepared_.reset();
  done_ = state.step;
}

}  // namespace ov
