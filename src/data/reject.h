// What a data set may get wrong, as a closed list: data faults are counted by reason and passed over, never silently,
// while faults of the machine or of the configuration end the run.
#pragma once
#include <array>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/json.h"

namespace ov {

enum class RejectReason {
  malformed_record,  // not JSON, a key missing or of another kind, roles out of order, a video
  image_missing,     // no such file
  image_unusable,    // truncated, damaged, of another format, or of a shape that no grid fits
  image_count,       // another number of <image> tags than of pictures
  late_image,        // a later turn brings a picture, which turns that share the first turn's prefix cannot
  no_answer,         // an empty answer: nothing to learn
  over_length,       // more tokens than train.max_tokens, or than a pack holds
  region_box,        // a region's box has no area or reaches out of the picture
  empty_text,        // an OCR region or an object class that is an empty string
  no_region,         // a picture without a region, which region training cannot learn from
  duplicate_key,     // a webdataset sample whose key came before
  damaged_shard      // a tar shard or a Parquet file cut short or overwritten where the sample stands
};
constexpr std::size_t reject_reasons = 12;

const char* name_of(RejectReason reason);  // as the list above spells it

// One record that is passed over. The message names file, record and the place in it.
class Rejected : public Error {
 public:
  Rejected(RejectReason reason, const std::string& message) : Error(Exit::wrong_input, message), reason_(reason) {}
  RejectReason reason() const { return reason_; }

 private:
  RejectReason reason_;
};

template <class... A>
[[noreturn]] void reject(RejectReason reason, const A&... a) {
  throw Rejected(reason, cat(a...));
}

template <class... A>
[[noreturn]] void malformed(const std::string& where, const A&... what) {
  reject(RejectReason::malformed_record, where, ": ", what...);
}

// f() with an input_error turned into a reject, `where` before its message unless it is ""; what the machine refuses
// goes on as it is.
template <class F>
auto or_reject(RejectReason reason, const std::string& where, F&& f) {
  try {
    return f();
  } catch (const Rejected&) { throw; } catch (const Error& e) {
    if (e.exit() != Exit::wrong_input) throw;
    throw Rejected(reason, where.empty() ? std::string(e.what()) : cat(where, ": ", e.what()));
  }
}

class RejectCounts {
 public:
  void add(RejectReason reason) { ++count_[static_cast<std::size_t>(reason)]; }
  std::int64_t operator[](RejectReason reason) const { return count_[static_cast<std::size_t>(reason)]; }
  std::int64_t total() const;
  std::string str() const;  // "image_missing 2, over_length 1"; "none"
  bool operator==(const RejectCounts&) const = default;

  Json json() const;  // an object: every reason and its count
  // Throws input_error that starts with `where` on an unknown or missing reason and on a count below zero.
  static RejectCounts from_json(const Json& json, const std::string& where);

 private:
  std::array<std::int64_t, reject_reasons> count_{};
};

}  // namespace ov
