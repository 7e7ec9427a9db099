#include "train/objectives/contrastive.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "base/sum.h"
#include "kernels/cluster_loss.h"
#include "kernels/copy.h"
#include "kernels/margin_logits.h"
#include "tensor/transfer.h"
#include "train/checksums.h"

namespace ov {
namespace {

// A leaf's scalars: the two losses, pictures and texts that found their own. The last of a step: s after the update.
constexpr std::int64_t leaf_scalars = 4;

// A row's own column is its only positive one, all others are negative.
Tensor diagonal_roles(std::int64_t pairs, Device& device) {
  const Tensor roles({pairs, pairs}, Dtype::u8, cpu(), Segment::data);
  roles.fill(kernels::role::negative);
  for (std::int64_t i = 0; i < pairs; ++i) roles.row<std::uint8_t>(i)[i] = kernels::role::positive;
  return roles.to(device);
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
  model.parameters().train([](const Parameter&) { return true; });
}

Loaded ContrastiveObjective::prepare(std::int64_t) {
  data_ = source_.next();
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
  const MicroBatch& batch = data_.micro_batches[static_cast<std::size_t>(leaf)];
  if (pairs_of(batch) == 0) return;  // every record of it is faulty
  const ContrastiveLoss c = contrastive_loss(model_, tape, inputs_of(batch, parameters().dtype()), denominator_);
  backward_from(tape, c.losses);
  const std::int64_t B = c.logits_per_image.dim(0);
  const Tensor roles = diagonal_roles(B, scalars.device()),
               ones = Tensor::of(std::vector<std::int64_t>(static_cast<std::size_t>(B), 1), {B}, scalars.device());
  const Var* logits[] = {&c.logits_per_image, &c.logits_per_text};
  for (std::int64_t way = 0; way < 2; ++way) {
    const std::int64_t loss = leaf_scalars * leaf + way, hits = loss + 2;
    kernels::copy({.y = scalars.slice(0, loss, loss + 1), .x = c.losses[static_cast<std::size_t>(way)].value});
    kernels::cluster_hits(
        {.hits = scalars.slice(0, hits, hits + 1), .cos = logits[way]->value, .roles = roles, .k = ones});
  }
}

void ContrastiveObjective::updated(const Tensor& scalars) {
  const std::int64_t n = scalars.dim(0);
  kernels::copy({.y = scalars.slice(0, n - 1, n), .x = model_.logit_scale().value.flat()});
}

Losses ContrastiveObjective::losses(std::span<const double> scalars) {
  const std::int64_t leaves = static_cast<std::int64_t>(scalars.size()) / leaf_scalars;  // those of other ranks too
  const auto total = [&](std::int64_t first, std::int64_t count) {  // of so many scalars of every leaf
    return sum<double>(count * leaves, [&](std::int64_t i) {
      return scalars[static_cast<std::size_t>(i / count * leaf_scalars + first + i % count)];
    });
  };
  Parameter& s = model_.logit_scale();
  const double most = std::log(options_.max_scale);
  double scale = scalars.back();
  if (scale > most)
    for (const Tensor& t : {s.value, parameters().master_of(s).values})
      if (t) t.fill(scale = most);

  const double pairs = static_cast<double>(std::max<std::int64_t>(1, pairs_)), images = total(2, 1) / pairs,
               texts = total(3, 1) / pairs;
  Losses out;
  out.loss = total(0, 2);
  out.labelled = pairs_;
  out.parts = Json::object({{"image_accuracy", images}, {"text_accuracy", texts}, {"scale", std::exp(scale)}});
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
