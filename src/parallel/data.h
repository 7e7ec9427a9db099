// Data parallelism: every rank holds the whole model, runs some of a step's leaves (micro-batches), and the sum of all
// gradients is the same tree as on one rank (comm/ordered_sum.h), so the bits are the same for any number of ranks;
// with train.grad_sum chain they are not (train/gradient_sum.h).
//
//   L leaves, N ranks:  b = the smallest power of two with L <= N b;  rank r runs the leaves [r b, (r+1) b)
//   g = Σ_leaves g_i    a rank's own leaves are a node of the tree over all; all_reduce adds the ranks' nodes
//
// Every rank then makes the same update. b is a power of two, so that a rank's sum is a node; where L / N is none, the
// last ranks have fewer leaves, or none.
//
// Overlap with backward (parallel/overlap.h): the sum is made in buckets beside the last leaf that a rank runs, on the
// CPU and on GPUs, for the same bytes.
//
// Bytes that leave a rank in a step, for P trained parameters with gradients of a bytes (f32: 4):
//   all_reduce    2 (N-1)/N P a
// What is held at a time, beside activations: values, gradients, moments and masters of all P.
// (The bytes of all strategies as functions: parallel/bytes.h.)
//
// ZeRO (parallel/zero*.h) overrides what it does otherwise: which part of the update is this rank's, and which sums it
// needs for that.
#pragma once
#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "nn/parameters.h"

namespace ov {

struct Range {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
};

// Rank r's part of a flat buffer of n elements: whole chunks of the gradient norm (kernels/adamw.h), as even as they
// are, so that a norm over parts has the bits of a norm over all.
Range shard_of(std::int64_t n, int rank, int ranks);
Parts shards_of(const Tensor& flat, int ranks);

class DataParallel {
 public:
  DataParallel(Communicator& ranks, Parameters& parameters) : ranks_(ranks), parameters_(parameters) {}
  virtual ~DataParallel() = default;
  DataParallel(const DataParallel&) = delete;
  Communicator& ranks() const { return ranks_; }

  // A step's leaves come in rounds, whose sums are added once more, as a tree.
  struct Round {
    Range own;   // the leaves of the rank; may be none
    int adding;  // the first ranks, which have leaves
  };
  virtual std::vector<Round> rounds(std::int64_t leaves, int rank) const;
  // `gradients`: a whole buffer, the sum over this rank's leaves of a round; what is in it is used up. Returns the sum
  // over all ranks, as far as this rank updates it: a view of the buffer.
  virtual Tensor sum(const Tensor& gradients, int adding) const;
  // The same of a range, beside the backward pass (parallel/overlap.h), where `ranks` are these ranks: when all ranges
  // are summed the buffer holds what sum() leaves.
  virtual void sum_bucket(const Tensor& gradients, Range bucket, int adding, Communicator& ranks) const;
  // Of the trained parameters, what a rank updates and holds moments of.
  virtual Range own(int, std::int64_t trained) const { return {0, trained}; }
  virtual bool sharded() const { return false; }
  Range own(int rank) const { return own(rank, parameters_.trained()); }
  std::vector<Round> rounds(std::int64_t leaves) const { return rounds(leaves, ranks_.rank()); }
  Range own() const { return own(ranks_.rank()); }
  // Squares of the gradients by chunk, those of own() filled in: fills in the others.
  virtual void complete_squares(const Tensor&) const {}
  virtual void share_values() const {}  // after the update: what the next step reads
  // Around every round of leaves, whether this rank has one or not.
  virtual void begin_round() const {}
  virtual void end_round() const {}
  // Ranges of flat buffers, of which each rank has another: together they are all values, or all masters where there
  // are some and `precise`. `first`: where it begins among all values, or among the trained ones.
  struct Piece {
    Tensor values;
    std::int64_t first;
    bool trained;
  };
  virtual std::vector<Piece> pieces(bool precise) const;
  virtual bool divides_values() const { return false; }
  // Elements [begin, end) of a parameter's values, flat, which this rank keeps: all do, or where values are divided the
  // one in whose shard they are.
  virtual Tensor kept(const Parameters::Entry& e, Range of) const {
    return parameters_.values().slice(0, e.offset + of.begin, e.offset + of.end);
  }
  // Runs what writes to values and masters.
  virtual void change_values(const std::function<void()>& change) { change(); }

  // The mesh: what each rank runs and holds. leaves: 0, unknown, as in RL. context: ranks that share one (context.h).
  std::string describe(std::int64_t leaves, int context = 1) const;

 protected:
  Communicator& ranks_;
  Parameters& parameters_;
};

// stage 0: the above; 1, 2, 3: parallel/zero1.h, zero2.h, zero3.h. Makes the masters of what this rank updates.
std::unique_ptr<DataParallel> data_parallel(int zero, Communicator& ranks, Parameters& parameters,
                                            Device* masters_on = nullptr);

}  // namespace ov
