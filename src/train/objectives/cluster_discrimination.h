// Region cluster discrimination: regions against a table of class centres, of which a step draws a part (RICE, Xie et
// al. 2025; PartialFC, An et al. 2022).
//
//   cos_rs = r̂·ŵ_s                       regions and centres as directions
//   z      = margin(cos)                  kernels/margin_logits.h
//   decoupled (variant A, the paper)      log(1 + Σ_{s positive} exp(-z)) + log(1 + Σ_{s negative} exp(z))
//   softmax   (variant B, public code)    cross entropy over the drawn classes; a string's labels one by one, each a
//                                         column with a draw of its own, and the region's loss is their mean
//
// One draw serves one slot: the i-th region of every picture, or with softmax the i-th label of every string. Drawing
// once for all slots of a step would put so many positives into the sample that ρ loses its meaning: at the paper's
// size 279 400 different positives of 327 680 regions, where ρ asks for 100 000 classes.
#pragma once
#include <string>
#include <vector>

#include "autograd/ops.h"
#include "base/rng.h"
#include "data/raw/regions.h"
#include "nn/parameters.h"

namespace ov {

struct ClusterOptions {
  bool softmax = false;  // variant B
  MarginOptions margin;  // scale 64, m 0.3, cosface
  double density = 0.1;  // ρ, the share of classes that a draw takes; 1: all
  double weight = 1;     // of this table's mean loss in the total
};

// S = ⌊density · classes⌋ of them, ascending: all `positives` (ascending, distinct) and uniformly chosen others;
// the positives alone when they are more than S. Every class has a random key, element k of the stream is class k's.
std::vector<std::int64_t> sample_classes(std::int64_t classes, double density,
                                         const std::vector<std::int64_t>& positives, const Philox& random);

// A region as one table sees it.
struct LabelledRow {
  std::int64_t region = 0;              // row of the batch's embeddings
  std::int64_t draw = 0;                // which of the step's draws serves it
  std::vector<std::int64_t> positives;  // may repeat
  double weight = 1;                    // the weights of a region's rows add up to 1
  std::int64_t different = 1;           // labels of the region that differ, this row's and others'
};
// The rows of a batch: its object regions or its OCR regions.
std::vector<LabelledRow> labelled_rows(const std::vector<Region>& regions, bool text, bool softmax);

// The classes of each draw of a step.
class ClassDraws {
 public:
  // `rows`: of all the step's batches. `join`: positives of other regions are drawn too and so are negatives, as in
  // PartialFC; without, the draw is uniform and a region's positives come on top, for vocabularies so small that a step
  // holds most of them.
  ClassDraws(std::int64_t classes, double density, bool join, const std::vector<LabelledRow>& rows, std::uint64_t seed,
             std::string_view purpose, std::uint64_t step);

  struct Draw {
    std::vector<std::int64_t> classes;  // ascending
    std::vector<bool> negative;         // may be a negative: false for positives that came on top
  };
  std::int64_t classes() const { return classes_; }
  bool all() const { return all_; }  // every draw is the whole table
  const std::vector<Draw>& draws() const { return draws_; }

 private:
  std::int64_t classes_;
  bool all_;
  std::vector<Draw> draws_;
};

// roles [rows, S] u8 of kernels/margin_logits.h for rows of one draw, or of what a block of the table has of it.
Tensor roles_of(const std::vector<const LabelledRow*>& rows, const ClassDraws::Draw& draw);

struct ClusterResult {
  std::vector<Var> losses;  // [1] each, of the draws that have rows; their sum is weight · Σ_rows / regions
};

// directions [R, D_e] of length 1, centres [K, D_e] of any. `regions`: how many the whole step has in this table.
// scalars [draws + 1] f64: the loss of every draw is written there, and at the end are added hits: labels among as many
// highest cosines as the region has different labels.
ClusterResult cluster_discrimination(const Var& directions, const Var& centres, const std::vector<LabelledRow>& rows,
                                     const ClassDraws& draws, const ClusterOptions& options, std::int64_t regions,
                                     const Tensor& scalars);

}  // namespace ov
