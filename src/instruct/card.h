// The data card: what the records that are left are, where they come from, and what became of the others.
#pragma once
#include <array>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "instruct/manifest.h"
#include "instruct/pipeline.h"

namespace ov::instruct {

class Card {
 public:
  explicit Card(const Manifest& manifest) : manifest_(manifest), sources_(manifest.sources.size()) {}
  void add(const Key& key, std::size_t source, const std::string& line);
  // card.json in `directory`. Pictures of the examples are where they are seen from `out`.
  void write(const std::string& directory, const std::string& out, const Json& steps) const;

 private:
  const Manifest& manifest_;
  std::vector<std::int64_t> sources_;
  std::array<std::int64_t, categories.size()> category_{};
  std::array<std::int64_t, languages.size()> lang_{};
  std::array<std::int64_t, difficulties> difficulty_{};
};

}  // namespace ov::instruct
