// Where a loader stands: the cursor of a permutation that is computed, not stored, and what has passed so far. Saved
// with every checkpoint; it does not depend on threads, prefetching or the size of micro-batches.
#pragma once
#include <cstdint>
#include <string>

#include "base/json.h"
#include "data/reject.h"

namespace ov {

struct LoaderState {
  std::int64_t seed = 0, records = 0;    // what the order was made from
  std::int64_t epoch = 0, position = 0;  // the record to read next: Permutation(records, seed, epoch)(position)
  std::int64_t samples = 0, tokens = 0, labelled_tokens = 0;  // delivered, all epochs
  std::int64_t padding = 0;                                   // tokens; 0, since rows are joined without any
  RejectCounts rejects;                                       // all epochs: a broken record counts again in each
  RejectCounts epoch_rejects;  // of this epoch: different records, since an epoch shows each once
  bool operator==(const LoaderState&) const = default;

  Json json() const;
  // Throws input_error that starts with `where` and names the key.
  static LoaderState from_json(const Json& json, const std::string& where);
};

}  // namespace ov
