// Runs a step's leaves through the ranks of a pipeline (parallel/pipeline.h), by its timetable: in every slot a rank
// makes one step of one leaf, and at its end hands the result to the rank of the next step.
#pragma once
#include <map>

#include "parallel/pipeline.h"
#include "train/gradient_sum.h"
#include "train/objective.h"
#include "train/step_trace.h"

namespace ov {

class PipelineRun {
 public:
  // tree: of gradients over leaves (train/gradient_sum.h). input_error for a chain where a tied table is trained: the
  // rows of one leaf's words come after the head's part of the next leaf, so the sum would not be one rank's.
  PipelineRun(Objective& objective, bool tree);
  // Gradients of this rank's chunks, of the leaves [begin, end) together; done(leaf, products) for each of its parts.
  using Done = std::function<void(std::int64_t leaf, const Tape::Products& products)>;
  const Tensor& run(std::int64_t begin, std::int64_t end, const Tensor& scalars, const Done& done,
                    Tracer* tracer = nullptr);
  StepTrace* trace = nullptr;  // of the step under way, if any

 private:
  // Of the gradient buffer, what one chunk, or the table that it lends, has. Its parameters may lie apart.
  struct Piece {
    std::vector<Range> ranges;
    TreeSum tree;
    std::map<std::int64_t, Tensor> open;  // by leaf, not yet complete
    Tensor total;
  };
  using Parts = std::vector<Tensor>;
  Piece piece(const std::function<bool(const Parameters::Entry&)>& of) const;
  Parts step(std::int64_t leaf, int step, const Parts& from, const Tensor& scalars, const Done& done, Tracer* tracer);
  void hand_on(const std::vector<LeafStep>& row, std::int64_t first, const Parts& made);
  void take(Piece& piece, std::int64_t leaf);
  int rank_of(int step) const;

  Objective& objective_;
  const Parameters& parameters_;
  Communicator& ranks_;
  const bool tree_;
  const int chunks_, steps_;  // of the model, of a leaf
  const Parameters::Lent* lent_ = nullptr;
  std::map<int, Piece> pieces_;  // by chunk of this rank; the lent table by the number of chunks
  Tensor gradients_;
  std::map<std::pair<std::int64_t, int>, std::unique_ptr<LeafChunk>> under_way_;  // by leaf and chunk
  std::map<std::pair<std::int64_t, int>, Parts> come_;                            // by leaf and step
};

}  // namespace ov
