#include "data/first_reasons.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace ov {

void FirstReasons::add(const std::string& name, const std::string& message, std::int64_t count) {
  auto found = std::find_if(reasons_.begin(), reasons_.end(), [&](const Reason& r) { return r.name == name; });
  if (found == reasons_.end()) found = reasons_.insert(found, {name, message});
  found->count += count;
}

std::int64_t FirstReasons::total() const {
  std::int64_t n = 0;
  for (const Reason& r : reasons_) n += r.count;
  return n;
}

std::string FirstReasons::str() const {
  std::string out;
  for (std::size_t i = 0; i < std::min<std::size_t>(reasons_.size(), 3); ++i)
    out += cat(i ? "; " : "", reasons_[i].name, " ", reasons_[i].count, ", the first: ", shown(reasons_[i].first, 400));
  return out + (reasons_.size() > 3 ? cat("; and ", reasons_.size() - 3, " more reasons") : std::string());
}

}  // namespace ov
