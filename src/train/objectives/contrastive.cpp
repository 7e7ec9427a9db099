#include "train/objectives/contrastive.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "base/sum.h"
#include "kernels/copy.h"
#include "tensor/transfer.h"
#include "train/checksums.h"

namespace ov {
namespace {

// Rows of z whose largest value, the first of them, stands on the diagonal.
std::int64_t right_rows(const Tensor& z) {
  std::int64_t right = 0;
  if (!z.has_data()) return 0;
  const Tensor here = z.to(cpu());
  by_dtype(z.dtype(), [&](auto v) {
    for (std::int64_t i = 0; i < z.dim(0); ++i) {
      const auto* row = here.row<decltype(v)>(i);
      right += std::max_element(row, row + z.dim(1)) - row == i;
    }
  });
  return right;
}

std::int64_t pairs_of(const MicroBatch& b) { return static_cast<std::int64_t>(b.segments.size()); }

ClipInputs inputs_of(const MicroBatch& b, Dtype dtype) {
  ClipInputs in;
  in.pixel_values = b.pixel_values.dtype() == dtype ? b.pixel_values : b.pixel_values.to(dtype, Segment::data);
  in.input_ids = b.input_ids;
  for (const TokenSegment& s : b.segments) in.text_lengths.push_back(s.length);
  return in;
}

}  // namespace

ContrastiveLoss contrastive_loss(const ClipModel& model, Tape& tape, const ClipInputs& pairs, double denominator) {
  ContrastiveLoss c;
  c.image_embeds = model.image_embeds(&tape, pairs);
  c.text_embeds = model.text_embeds(&tape, pairs);
  const std::int64_t B = c.image_embeds.dim(0);
  if (B != c.text_embeds.dim(0))
    input_error("a contrastive loss over ", B, " pictures and ", c.text_embeds.dim(0), " texts: expected pairs");
  Device& device = c.image_embeds.value.device();
  std::vector<std::int64_t> own(static_cast<std::size_t>(B));
  std::iota(own.begin(), own.end(), 0);
  const Tensor targets = index_tensor("pairs", own, {B}, 0, B, device),
               ones({B}, accum_dtype(c.image_embeds.value.dtype()), device, Segment::data);
  ones.fill(1);
  c.logits_per_image = model.logits(c.image_embeds, c.text_embeds);
  c.logits_per_text = model.logits(c.text_embeds, c.image_embeds);  // the same numbers, transposed
  c.losses = {cross_entropy(c.logits_per_image, targets, ones, denominator).loss,
              cross_entropy(c.logits_per_text, targets, ones, denominator).loss};
  return c;
}

ContrastiveObjective::ContrastiveObjective(ClipModel& model, StepSource& data, const ContrastiveOptions& options)
    : model_(model), source_(data), options_(options) {
  model.parameters().train([](const Parameter&) { return true; }, options.optimizer.state_on);
}

Loaded ContrastiveObjective::prepare(std::int64_t) {
  data_ = source_.next();
  results_.assign(data_.micro_batches.size(), {});
  pairs_ = 0;
  for (const MicroBatch& b : data_.micro_batches) pairs_ += pairs_of(b);
  return {.leaves = static_cast<std::int64_t>(data_.micro_batches.size()),
          .samples = data_.samples,
          .tokens = data_.tokens,
          .patches = data_.patches,
          .denominators = {2 * pairs_}};
}

void ContrastiveObjective::normalise(const std::vector<std::int64_t>& denominators) {
  denominator_ = static_cast<double>(denominators.at(0));
}

void ContrastiveObjective::run(std::int64_t leaf, Tape& tape, const Tensor& scalars) {
  const auto at = static_cast<std::size_t>(leaf);
  const MicroBatch& batch = data_.micro_batches[at];
  if (pairs_of(batch) == 0) return;  // every record of it is faulty
  const ContrastiveLoss c = contrastive_loss(model_, tape, inputs_of(batch, parameters().dtype()), denominator_);
  backward_from(tape, c.losses);
  for (std::int64_t way = 0; way < 2; ++way)
    kernels::copy({.y = scalars.slice(0, 2 * leaf + way, 2 * leaf + way + 1),
                   .x = c.losses[static_cast<std::size_t>(way)].value});
  results_[at] = {right_rows(c.logits_per_image.value), right_rows(c.logits_per_text.value)};
}

Losses ContrastiveObjective::losses(std::span<const double> scalars) {
  const auto total = [&](auto member) {
    return sum<double>(static_cast<std::int64_t>(results_.size()), [&](std::int64_t i) {
      return static_cast<double>(results_[static_cast<std::size_t>(i)].*member);
    });
  };
  Parameter& s = model_.logit_scale();
  const double most = std::log(options_.max_scale);
  for (const Tensor& t : {s.value, gradient_of(s, parameters().masters())})
    if (t && t.has_data() && read_scalar(t) > most) t.fill(most);

  const double pairs = static_cast<double>(std::max<std::int64_t>(1, pairs_)),
               images = total(&Result::images_right) / pairs, texts = total(&Result::texts_right) / pairs;
  Losses out;
  out.loss = sum<double>(static_cast<std::int64_t>(scalars.size()),
                         [&](std::int64_t i) { return scalars[static_cast<std::size_t>(i)]; });
  out.labelled = pairs_;
  out.parts = Json::object({{"image_accuracy", images},
                            {"text_accuracy", texts},
                            {"scale", s.value.has_data() ? std::exp(read_scalar(s.value)) : 0.0}});
  char note[96];
  std::snprintf(note, sizeof note, "loss %.3f  pictures %.0f%%  texts %.0f%%", out.loss, 100 * images, 100 * texts);
  out.note = note;
  return out;
}

std::uint64_t ContrastiveObjective::batch_checksum() const {
  ChecksumOfArrays sum;
  for (const MicroBatch& b : data_.micro_batches) {
    sum.add(b.input_ids.data(), b.tokens());
    for (const TokenSegment& s : b.segments) sum.add(&s.length, 1);
    if (b.pixel_values) sum.add(b.pixel_values.data<float>(), b.pixel_values.numel());
  }
  return sum.value;
}

}  // namespace ov
