// Which elements of a model each rank writes into a checkpoint: all of them once, each by a rank that has them whatever
// the stage of ZeRO, so that nothing is sent, and as evenly as that allows.
//
//   data           rank d of N writes shard d of what is trained and of what is frozen: the shards of ZeRO (shard_of)
//   tensor, pipe   each writes what it alone holds
//   copies         what t tensor-parallel ranks hold uncut, n that share experts besides those, and c context-parallel
//                  ranks altogether, they divide among themselves once more
//
// Bytes of rank r, for T_r trained and F_r frozen elements, of values of b, masters of a and moments of k bytes, f32:
//   T_r (a + 2 k) + F_r b       where bf16 is trained; b for a where values have no masters
// Of N data-parallel ranks alone T_r and F_r are T / N and F / N, but for one chunk of the gradient norm each.
#pragma once
#include <map>
#include <tuple>

#include "parallel/data.h"

namespace ov {

class Shares {
 public:
  Shares(const Parameters& parameters, int data_ranks, int context_ranks);
  // Elements [begin, end) of what the rank holds of an entry; at most one stretch of each.
  struct Share {
    std::size_t entry;  // of parameters.entries()
    int tensor;         // its place among tensor-parallel ranks, where these divide the entry
    Range part;         // of the entry's part
  };
  // By rank of the mesh ((d p + s) c + k) t + i, in the order of the entries.
  std::vector<Share> of(int rank);
  int ranks() const { return data_ * experts_ * pipe_ * context_ * tensor_; }

 private:
  // Entries that the same ranks hold, one after another.
  struct Kind {
    bool trained, cut, shared;  // shared: by all that share experts
    bool has(const Parameters::Entry& e) const {
      return e.parameter.trainable == trained && (e.cut != Cut::none) == cut && (e.expert_holder < 0) == shared;
    }
  };
  bool holds(const Parameters::Entry& e, int stage, int holder) const {
    return e.holder == stage && (e.expert_holder < 0 || e.expert_holder == holder);
  }
  // Of a kind, counted from its first element that `holder` has: which are in its shards, as data + 1 borders.
  const std::vector<std::int64_t>& borders(const Kind& kind, int stage, int holder);
  Range range_of(const Kind& kind, int stage, int holder, int data);

  const Parameters& parameters_;
  int data_, context_, tensor_, pipe_, experts_;
  std::map<std::tuple<bool, bool, bool, int, int>, std::vector<std::int64_t>> borders_;  // that were asked for
};

}  // namespace ov
