#include "train/objectives/language.h"

#include <cstdio>

#include "base/sum.h"
#include "base/text.h"
#include "kernels/copy.h"
#include "train/checksums.h"

namespace ov {

Parameters::Choice trainable(const std::vector<std::string>& modules, bool class_params) {
  bool language = false, adapter = false, vision = false;
  for (const std::string& m : modules) {
    if (m == "language_model") language = true;
    else if (m == "adapter") adapter = true;
    else if (m == "vision_model") vision = true;
    else
      input_error("train.modules: '", m, "' is none of language_model, adapter, vision_model",
                  did_you_mean(m, {"language_model", "adapter", "vision_model"}));
  }
  return [=](const Parameter& p) {
    if (p.module == Module::adapter) return adapter;
    if (p.module != Module::vision_model) return language;
    return vision && (class_params || (p.role != Role::class_vector && p.role != Role::class_angles));
  };
}

OnevisionInputs model_inputs(const MicroBatch& batch, Dtype dtype, Device& device) {
  OnevisionInputs in;
  in.input_ids = batch.input_ids;
  in.positions = index_tensor("positions", batch.positions, {batch.tokens()}, 0, INT64_MAX, device);
  kernels::SegmentTable table;
  for (const TokenSegment& s : batch.segments) table.push_back({s.begin, s.length, s.begin, s.length, s.prefix});
  in.segments = std::make_shared<kernels::Segments>(std::move(table), batch.tokens(), batch.tokens(), true, device);
  if (batch.pixel_values)
    in.pixel_values =
        batch.pixel_values.dtype() == dtype ? batch.pixel_values : batch.pixel_values.to(dtype, Segment::data);
  for (const auto& g : batch.grids) in.grids.push_back({g[0], g[1], g[2]});
  return in;
}

LanguageLoss language_loss(const Onevision& model, Tape& tape, const MicroBatch& batch, const LossTargets& targets,
                           double denominator) {
  const Dtype dtype = model.parameters().dtype();
  Device& device = model.parameters().device();
  const auto rows = static_cast<std::int64_t>(targets.rows.size());
  const Var hidden = model.hidden(&tape, model_inputs(batch, dtype, device));
  // Only rows that predict a labelled token pass through the language head.
  const Tensor index = index_tensor("labelled rows", targets.rows, {rows}, 0, batch.tokens(), device);
  const Var logits = model.logits(take_rows(hidden, index));

  std::vector<std::int64_t> target;
  std::vector<double> weight;
  for (const std::int64_t t : targets.rows) {
    const std::int64_t id = targets.targets[static_cast<std::size_t>(t)];
    target.push_back(id == ignored_label ? 0 : id);  // of weight 0: nobody reads it
    weight.push_back(targets.weights[static_cast<std::size_t>(t)]);
  }
  const Tensor weights = Tensor::of(weight, {rows}).to(accum_dtype(dtype), Segment::data).to(device);
  const CrossEntropy ce =
      cross_entropy(logits, index_tensor("targets", target, {rows}, 0, logits.dim(1), device), weights, denominator);
  return {logits, ce.loss, ce.token_loss};
}

LanguageObjective::LanguageObjective(Onevision& model, StepSource& data, const TrainOptions& options)
    : model_(model), source_(data), by_(options.normalise_by) {
  model.parameters().train(trainable(options.modules, options.train_class_params));
  if (model.parameters().trained() == 0) input_error("train.modules: nothing is trained");
}

Loaded LanguageObjective::prepare(std::int64_t) {
  data_ = source_.next();
  targets_ = loss_targets(data_, by_);
  return {.leaves = static_cast<std::int64_t>(data_.micro_batches.size()),
          .samples = data_.samples,
          .tokens = data_.tokens,
          .patches = data_.patches,
          .denominators = {static_cast<std::int64_t>(targets_.denominator)}};
}

void LanguageObjective::normalise(const std::vector<std::int64_t>& denominators) {
  targets_.denominator = static_cast<double>(denominators.at(0));
}

std::int64_t LanguageObjective::first_scalar(std::size_t leaf) const {
  std::int64_t n = 0;
  for (std::size_t i = 0; i < leaf; ++i) n += 1 + static_cast<std::int64_t>(targets_.micro_batches[i].rows.size());
  return n;
}

void LanguageObjective::run(std::int64_t leaf, Tape& tape, const Tensor& scalars) {
  const auto i = static_cast<std::size_t>(leaf);
  if (data_.micro_batches[i].tokens() == 0) return;  // every record of it is faulty
  const LanguageLoss l =
      language_loss(model_, tape, data_.micro_batches[i], targets_.micro_batches[i], targets_.denominator);
  const std::int64_t at = first_scalar(i), end = first_scalar(i + 1);
  kernels::copy({.y = scalars.slice(0, at, at + 1), .x = l.loss.value});
  kernels::copy({.y = scalars.slice(0, at + 1, end), .x = l.token_loss});
  backward_from(tape, std::span(&l.loss, 1));
}

Losses LanguageObjective::losses(std::span<const double> scalars) {
  std::vector<double> loss, token_loss;
  const double* next = scalars.data();
  Losses out;
  for (const LossTargets& t : targets_.micro_batches) {
    const auto rows = static_cast<std::int64_t>(t.rows.size());
    loss.push_back(*next++);
    token_loss.push_back(sum<double>(rows, [&](std::int64_t r) { return next[r]; }));
    next += rows;
    out.labelled += rows;
  }
  const auto total = [](const std::vector<double>& v) {
    return sum<double>(static_cast<std::int64_t>(v.size()),
                       [&](std::int64_t i) { return v[static_cast<std::size_t>(i)]; });
  };
  out.loss = total(loss);
  const double mean = out.labelled > 0 ? total(token_loss) / static_cast<double>(out.labelled) : 0;
  out.parts.set("token_loss", mean);
  char note[32];
  std::snprintf(note, sizeof note, "loss %.4f", mean);
  out.note = note;
  return out;
}

std::uint64_t LanguageObjective::batch_checksum() const {
  ChecksumOfArrays sum;
  for (const MicroBatch& b : data_.micro_batches) {
    sum.add(b.input_ids.data(), b.tokens());
    sum.add(b.labels.data(), b.tokens());
    sum.add(b.positions.data(), b.tokens());
    if (b.pixel_values) sum.add(b.pixel_values.data<float>(), b.pixel_values.numel());
  }
  return sum.value;
}

}  // namespace ov
