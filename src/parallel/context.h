// Context parallelism (as Llama 3, 2024, gathers keys) over packed rows: c ranks hold the same values and run the same
// micro-batch together, each some of its tokens. All but attention is of own tokens.
//
//   unit        a segment and the branches on it
//   whole unit  its tokens and pictures are one rank's: attention as on one rank, nothing is sent
//   cut unit    each of its segments, of L tokens, is 2c chunks [L i/2c, L (i+1)/2c); rank r has chunks r and 2c-1-r,
//               so that all have as many pairs of a query and a key (zig-zag). In every layer
//                 k', v' = exchange(k, v)    rows that own queries see: all of a prefix, of a segment up to their last
//                 o = f(q, k', v')           a query's keys are what they are on one rank, in their order
//                 dk = Σ_r dk'_r             likewise dv: over the ranks that saw it (autograd/ops/exchange_rows.h)
//   pictures    those of a cut unit are each one rank's; features = exchange(features) to the ranks of their tokens
//
// Units stay whole while the busiest rank has at most 1/8 more to do than the mean; else the longest is cut, and again.
// What stays whole, and each picture of what is cut, goes to the rank that has the least, the most costly first.
//
// A key is not passed round a ring and forgotten, but held, because then a query's sum over its keys is one rank's: a
// row's forward bits do not depend on c; where no unit is cut, nor do the gradients of its activations. Gradients of
// parameters are sums over tokens: the ranks' sums, added in their order. Where no unit is cut they are those of one
// rank whose micro-batches are the ranks' parts. Copies of the model, ZeRO and stages beside it change no bit more.
//
// Bytes that leave the c ranks together, for values of b bytes, D layers with K keys of width H, gradients of a bytes,
// P parameters that a rank updates, E experts, of every cut unit L tokens in all, Q of them a prefix (0 where it has no
// branch), F features that stand on another rank than their picture, of width C:
//   keys       D 2 K H b (3/4 (c-1) (L - Q) + (c-1) Q)    a micro-batch forward, as much backward; where 2c divides
//                                                         every segment
//   features   F C b                                      likewise
//   gradients  2 (c-1) P a                                a step
//   experts    16 (c-1) E                                 a micro-batch, where they are balanced
// Recomputation runs a block's forward again, and sends its keys again.
// What a rank holds: values, gradients and moments as without; activations of own tokens, and of every layer the keys
// that they see (with recomputation, of one).
#pragma once
#include <memory>
#include <optional>

#include "autograd/ops/exchange_rows.h"
#include "kernels/segments.h"

namespace ov {

// A packed row, as what divides it sees it.
struct ContextRow {
  kernels::SegmentTable segments;         // of tokens, queries and keys alike
  std::vector<std::int64_t> features;     // by token, the feature that stands there, -1 for a word
  std::vector<std::int64_t> of_pictures;  // by picture, how many features it has: they follow each other
};
struct ContextCosts {
  double token = 1, pair = 0;    // of the decoder
  std::vector<double> pictures;  // of the tower
};

// Who has what of a row. Alike on all ranks.
class ContextPlan {
 public:
  ContextPlan(const ContextRow& row, const ContextCosts& costs, int ranks);
  const ContextRow& row() const { return row_; }
  int ranks() const { return static_cast<int>(tokens.size()); }
  bool cuts() const { return cuts_; }
  // What a rank's queries see: rows of its keys, which are key_sources() where a unit is cut, else its tokens.
  kernels::SegmentTable table(int rank) const;
  std::vector<RowSource> key_sources(int rank) const;
  bool moves_features() const;  // false: every rank has the features of its tokens, in order
  std::vector<RowSource> feature_sources(int rank) const;

  std::vector<std::vector<std::int64_t>> tokens, pictures;  // by rank, ascending
  std::vector<double> costs;                                // by rank

 private:
  struct Unit {
    std::vector<std::size_t> segments, pictures;
    std::int64_t tokens = 0;
    double cost = 0;
    int rank = 0;
    bool cut = false;
  };
  struct Keys {
    kernels::SegmentTable table;
    std::vector<RowSource> sources;
  };
  void divide(const ContextCosts& costs);
  void place(const ContextCosts& costs);
  Keys keys(int rank) const;

  ContextRow row_;
  std::vector<Unit> units_;
  std::vector<std::size_t> unit_of_;         // by segment
  std::vector<RowSource> place_, features_;  // by token, by feature
  bool cuts_ = false;
};

// One rank's part, as a model reads it.
struct ContextPart {
  ContextPart(const ContextPlan& plan, Communicator& ranks, Device& device);
  Communicator* ranks;
  std::int64_t tokens;  // of all ranks together
  std::shared_ptr<const kernels::Segments> segments;
  std::optional<RowExchange> keys, features;  // where anything is exchanged
  std::vector<std::int64_t> feature_rows;     // by own token, among what is exchanged, -1 for a word
};

// After a step's gradients are summed over micro-batches, data- and tensor-parallel ranks: over the context-parallel
// ranks, each of which then makes the same update.
void sum_over_context(Communicator& ranks, const Tensor& gradients);

}  // namespace ov
