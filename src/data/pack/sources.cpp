#include "data/pack/sources.h"

#include <algorithm>

#include "base/error.h"
#include "base/sha256.h"
#include "data/raw/drawn_records.h"

namespace ov {

Sources::Sources(const std::vector<PackSource>& sources) {
  if (sources.empty()) input_error("pack: no data: expected at least one conversation file or webdataset");
  for (const PackSource& s : sources) {
    sets_.push_back(drawn_records(open_records(s.path, s.image_dir), s.manifest));
    if (sets_.back()->mixture())
      input_error(s.path, ": is a mixture; a packing holds every record once: give its data sets one by one");
    first_.push_back(first_.back() + sets_.back()->size());
  }
}

std::size_t Sources::set_of(std::int64_t record) const {
  if (record < 0 || record >= size()) input_error("record ", record, " of ", size());
  return static_cast<std::size_t>(std::upper_bound(first_.begin(), first_.end(), record) - first_.begin()) - 1;
}

Conversation Sources::read(std::int64_t record) const {
  const std::size_t i = set_of(record);
  return sets_[i]->read(record - first_[i]);
}

std::string Sources::fingerprint() const {
  std::string all;
  for (const auto& set : sets_) all += cat(set->size(), " ", set->fingerprint(), "\n");
  return sha256(all);
}

}  // namespace ov
