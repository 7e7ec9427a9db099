// Several raw data sets as one list of records: those of the first, then those of the second, and so on.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "data/raw/records.h"

namespace ov {

struct PackSource {
  std::string path;           // conversation file, webdataset directory or shard: data/raw/records.h
  std::string image_dir;      // where relative image paths of a conversation file start; "": beside it
  std::int64_t records = 0;   // in an index: how many it holds, or are drawn; 0 in older ones
  std::string manifest = {};  // those that it draws (data/raw/drawn_records.h); "": all
};

class Sources {
 public:
  // Throws input_error: none at all, one that cannot be opened.
  explicit Sources(const std::vector<PackSource>& sources);

  std::int64_t size() const { return first_.back(); }
  std::size_t count() const { return sets_.size(); }
  const Records& set(std::size_t i) const { return *sets_[i]; }
  std::size_t set_of(std::int64_t record) const;
  Conversation read(std::int64_t record) const;  // throws Rejected; safe from several threads
  std::string fingerprint() const;               // of all sets and their order, not of their paths

 private:
  std::vector<std::unique_ptr<const Records>> sets_;
  std::vector<std::int64_t> first_ = {0};  // [sets + 1]
};

}  // namespace ov
