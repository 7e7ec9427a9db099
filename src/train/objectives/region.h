// Region cluster discrimination over annotated pictures: the loss of `pretrain --what vision`
// (train/objectives/cluster_discrimination.h).
#pragma once
#include <exception>
#include <optional>

#include "data/load/region_loader.h"
#include "model/region_head.h"
#include "train/engine.h"
#include "train/objectives/cluster_discrimination.h"

namespace ov {

struct RegionTrainOptions : StepOptions {
  ClusterOptions objects, characters;
  std::uint64_t seed = 1;  // of the class draws
};

class RegionObjective : public Objective {
 public:
  RegionObjective(RiceModel& model, RegionSource& data, const RegionTrainOptions& options);

  Parameters& parameters() const override { return model_.parameters(); }
  Loaded prepare(std::int64_t step) override;
  void normalise(const std::vector<std::int64_t>& denominators) override;
  void prefetch() override;
  std::int64_t scalars() const override;
  void run(std::int64_t leaf, Tape& tape, const Tensor& scalars) override;
  void serve(Tape& tape) override { run_in_turn(-1, tape, {}); }
  // labelled: labels of all regions. Parts, over the step's regions: object_loss and text_loss, means; objects and
  // texts, their counts; object_accuracy, the share of regions whose class is the nearest drawn centre; text_recall,
  // the share of a string's n different characters among its n nearest centres.
  Losses losses(std::span<const double> scalars) override;
  std::uint64_t batch_checksum() const override;
  Json state() const override;  // the loader's state and a fingerprint of the labels' names
  void restore(const Json& state) override;

 private:
  // A step's data and where the loader stood after it, or why there is none: that step's error, not an earlier one's.
  struct Prepared {
    RegionStep data;
    RegionLoaderState loader;
    std::exception_ptr error;
  };
  // One of the two tables over a whole step: which rows its batches have, and which classes are drawn for them.
  struct Table {
    std::int64_t regions = 0;                    // of the step
    std::vector<std::vector<LabelledRow>> rows;  // by batch
    std::optional<ClassDraws> draws;             // none without a table
    std::int64_t labels = 0;                     // of all batches
    std::int64_t scalars() const;                // of a batch: a loss for every draw, and the hits
  };
  Var directions(const RegionBatch& batch, Tape& tape) const;
  void run_in_turn(std::int64_t leaf, Tape& tape, const Tensor& scalars);
  Table table(bool text, std::int64_t classes, const ClusterOptions& options, std::int64_t step) const;

  RiceModel& model_;
  RegionSource& source_;
  RegionTrainOptions options_;
  std::optional<Prepared> ahead_;  // the step to come
  RegionStep data_;                // the step under way
  RegionLoaderState after_;        // where the loader stood after it
  Table objects_, texts_;
};

}  // namespace ov
