// Where a loader stands, and what has passed so far. Saved with every checkpoint. The place is the number of a step
// (data/load/slots.h), so a state does not depend on threads, prefetching, or on which process loads what.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "data/load/slots.h"
#include "data/reject.h"

namespace ov {

struct LoaderState {
  std::string data;                                           // fingerprint of the records
  std::int64_t seed = 0, records = 0, samples_of_step = 0;    // what the order was made from
  std::int64_t step = 0;                                      // the step to deliver next
  std::int64_t samples = 0, empty = 0;                        // delivered; `empty`: those of faulty records among them
  std::int64_t tokens = 0, labelled_tokens = 0, padding = 0;  // delivered; padding: what packs lack of their capacity
  std::vector<std::int64_t> rejected;                         // records found faulty, ascending
  RejectCounts rejects;  // the same by reason: each record once, however often it is met
  bool operator==(const LoaderState&) const = default;

  std::int64_t epoch() const { return step * samples_of_step / records; }
  std::int64_t position() const { return step * samples_of_step % records; }

  Json json() const;
  // Throws input_error that starts with `where` and names the key.
  static LoaderState from_json(const Json& json, const std::string& where);
};

// The state before the first step.
LoaderState first_state(const SlotOrder& order, const std::string& data);

// Throws input_error when `given` is of other data, another seed or other steps than `own`, the state of the loader
// that is to take it. `path` names the data.
void check_same_data(const LoaderState& own, const LoaderState& given, const std::string& path);

}  // namespace ov
