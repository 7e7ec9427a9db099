// The axes of a mesh (parallel/mesh.h) as one: what all ranks of a run do together where only their axes are at hand.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace ov {

class Together {
 public:
  // Axes that step over the fewest ranks first. Every rank of each has the same place on all others.
  explicit Together(std::vector<Communicator*> axes);
  int rank() const { return rank_; }
  int ranks() const { return ranks_; }

  // Each rank runs its own `part`, in which nobody speaks to others. Where some throw an Error, all throw that of the
  // first of them, with "rank 3: " before it where there are several.
  void attempt(const std::function<void()>& part) const;
  // Everybody's text of a rank.
  std::string hear(const std::string& text, int from) const;
  // A row of `own.size()` numbers of every rank, by rank.
  std::vector<std::int64_t> gather(const std::vector<std::int64_t>& own) const;

 private:
  std::vector<Communicator*> axes_;
  int rank_ = 0, ranks_ = 1;
};

}  // namespace ov
