#include "data/reject.h"

namespace ov {

const char* name_of(RejectReason reason) {
  static const char* names[reject_reasons] = {"malformed_record", "image_missing", "image_unusable", "image_count",
                                              "late_image",       "no_answer",     "over_length",    "region_box",
                                              "empty_text",       "no_region",     "duplicate_key",  "damaged_shard"};
  return names[static_cast<std::size_t>(reason)];
}

std::int64_t RejectCounts::total() const {
  std::int64_t n = 0;
  for (const std::int64_t c : count_) n += c;
  return n;
}

std::string RejectCounts::str() const {
  std::string out;
  for (std::size_t r = 0; r < reject_reasons; ++r)
    if (count_[r] > 0) out += cat(out.empty() ? "" : ", ", name_of(RejectReason(r)), " ", count_[r]);
  return out.empty() ? "none" : out;
}

Json RejectCounts::json() const {
  Json out = Json::object();
  for (std::size_t r = 0; r < reject_reasons; ++r) out.set(name_of(RejectReason(r)), count_[r]);
  return out;
}

RejectCounts RejectCounts::from_json(const Json& json, const std::string& where) {
  if (!json.is_object() || json.size() != reject_reasons)
    input_error(where, ": expected an object of ", reject_reasons, " counts, found ", json.dump());
  RejectCounts counts;
  for (std::size_t r = 0; r < reject_reasons; ++r) {
    const Json* n = json.find(name_of(RejectReason(r)));
    if (!n || !n->is_integer() || n->as_int() < 0)
      input_error(where, ": ", name_of(RejectReason(r)), ": expected a count, found ", n ? n->dump() : "nothing");
    counts.count_[r] = n->as_int();
  }
  return counts;
}

}  // namespace ov
