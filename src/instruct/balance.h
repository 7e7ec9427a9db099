// Shares of categories and difficulties: how many records of each cell are kept, and which.
//
//   n_c = min(a_c, λ s_c)     a_c: records that there are of the cell, s_c: its share, λ such that Σ n_c = n
//
// A cell that has too few gives all it has and the others share what is missing, as water finds its level; whole
// numbers by largest remainder. In a cell the records with the smallest random numbers are kept: exactly n_c, found by
// passes that refine the border sixteen bits at a time, so that memory does not depend on how many there are.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "instruct/manifest.h"
#include "instruct/pipeline.h"

namespace ov::instruct {

class Quotas {
 public:
  using EachRecord = std::function<void(const std::function<void(const RecordSummary&, std::int64_t place)>&)>;
  static Quotas draw(const BalanceTarget& target, const EachRecord& each);

  bool keeps(const RecordSummary& k, std::int64_t place) const;
  std::string name(const RecordSummary& k) const;  // "ocr, difficulty 2: 300 of 800 are kept"
  // What a target cannot give, or leaves out as a whole; "" where it does neither.
  std::string shortage(const BalanceTarget& target) const;

 private:
  struct Cell {
    std::int64_t available = 0, kept = 0;
    std::uint64_t border = 0;      // random numbers below it are kept
    std::int64_t last_place = -1;  // of those that have the border itself, the ones up to here
  };
  std::vector<Cell> cells_;
};

// n_c for shares s_c and limits a_c.
std::vector<std::int64_t> fill(const std::vector<double>& shares, const std::vector<std::int64_t>& available,
                               std::int64_t n);

}  // namespace ov::instruct
