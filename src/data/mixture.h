// Several data sets in fixed shares, as one endless row of records, in integers alone.
//
// A period has T draws, d_i of them of set i, in an order drawn from (seed, period): each period has the shares
// exactly. Draw k of a set, over all periods, is place k mod n_i of the set's own permutation of its round k / n_i: a
// set gives all its records before one comes again, however large its share. So any place of the row is known without
// those before it, and a run is resumed by its number.
//
//   weights      d_i / T = weight_i, T the smallest that has it so, or 2^20 with the d_i rounded to that sum
//   repetitions  d_i = repetitions_i · n_i: an epoch, in which every record comes that often
#pragma once
#include <cstdint>
#include <vector>

#include "data/load/slots.h"

namespace ov {

class Mixture {
 public:
  // sizes: records of each set. Throws input_error: no set, one without records, no share above 0, one above 0 that
  // comes to no draw (weights below about 2^-21 of their sum, repetitions of less than half a record).
  static Mixture by_weight(const std::vector<std::int64_t>& sizes, const std::vector<double>& weights);
  static Mixture by_repetitions(const std::vector<std::int64_t>& sizes, const std::vector<double>& repetitions);

  std::int64_t period() const { return end_.back(); }
  std::int64_t draws(std::size_t set) const { return end_[set] - (set ? end_[set - 1] : 0); }
  // Record among all of them, those of the first set first; its epoch is the set's.
  Slot at(std::int64_t place, std::uint64_t seed) const;

 private:
  Mixture(const std::vector<std::int64_t>& sizes, const std::vector<std::int64_t>& draws,
          const std::vector<double>& shares, const char* what);
  std::vector<std::int64_t> first_;  // [sets + 1] records
  std::vector<std::int64_t> end_;    // [sets] of their draws in a period
};

}  // namespace ov
