// The symmetric contrastive loss of CLIP (Radford et al. 2021, figure 3): every picture of a micro-batch is to find its
// text among the micro-batch's texts, and every text its picture.
//
//   z_ij = e^s a_i·b_j
//   loss = Σ_i (ce(z_i*, i) + ce(z_*i, i)) / D,  D = 2 pairs of the step
//
// Pairs of different micro-batches do not meet: their number of samples, not the step's, is the loss's batch.
#pragma once
#include <array>

#include "data/source.h"
#include "model/clip.h"
#include "train/engine.h"

namespace ov {

struct ContrastiveOptions : StepOptions {
  double max_scale = 100;  // e^s at most: an update that goes beyond is taken back to it (CLIP, 2.5)
};

struct ContrastiveLoss {
  Var image_embeds, text_embeds, logits_per_image, logits_per_text;
  std::array<Var, 2> losses;  // [1], whose sum is optimised: pictures that look for texts, texts for pictures
};
// As many texts as pictures, in the same order, or input_error.
ContrastiveLoss contrastive_loss(const ClipModel& model, Tape& tape, const ClipInputs& pairs, double denominator);

// A step's batches hold one picture and one segment of ids for each pair; positions and labels mean nothing here.
class ContrastiveObjective : public Objective {
 public:
  ContrastiveObjective(ClipModel& model, StepSource& data, const ContrastiveOptions& options);

  Parameters& parameters() const override { return model_.parameters(); }
  Loaded prepare(std::int64_t step) override;
  void normalise(const std::vector<std::int64_t>& denominators) override;
  std::int64_t scalars() const override { return 4 * static_cast<std::int64_t>(data_.micro_batches.size()); }
  // Of each leaf: both losses, and how many pictures and texts are right.
  void run(std::int64_t leaf, Tape& tape, const Tensor& scalars) override;
  // labelled: pairs. Parts: image_accuracy and text_accuracy, the shares of pictures and of texts whose largest logit
  // is the pair's, and scale, e^s after the update.
  Losses losses(std::span<const double> scalars) override;
  std::uint64_t batch_checksum() const override;
  Json state() const override { return source_.state(); }
  void restore(const Json& state) override { source_.restore(state); }

 private:
  ClipModel& model_;
  StepSource& source_;
  ContrastiveOptions options_;
  GlobalStep data_;
  std::int64_t pairs_ = 0;
  double denominator_ = 0;
};

}  // namespace ov
