// The data card: what the records that are left are, where they come from and under what licence, and what became of
// the others. As JSON, and as one page without scripts that shows examples with their pictures.
#pragma once
#include <array>
#include <string>
#include <vector>

#include "base/json.h"
#include "instruct/manifest.h"
#include "instruct/pipeline.h"

namespace ov::instruct {

class Card {
 public:
  explicit Card(const Manifest& manifest) : manifest_(manifest), sources_(manifest.sources.size()) {}
  void add(const RecordSummary& key, std::size_t source, const std::string& line);
  // card.json and card.html in `directory`, from which the examples' pictures are named.
  void write(const std::string& directory, const Json& steps) const;

 private:
  static constexpr std::size_t lengths = 16, examples = 3;  // octaves, the last open-ended; of each category
  struct Example {
    std::uint64_t draw;
    std::string line;
  };
  Json json(const Json& steps) const;
  std::string figure(const Example& example, const std::string& directory) const;

  const Manifest& manifest_;
  std::vector<std::int64_t> sources_;
  std::array<std::int64_t, categories.size()> category_{};
  std::array<std::int64_t, languages.size()> lang_{};
  std::array<std::int64_t, difficulties> difficulty_{};
  std::array<std::int64_t, 2> rewritten_{};   // not, by an endpoint
  std::array<std::int64_t, 3> translated_{};  // not, by phrases, by an endpoint
  std::array<std::int64_t, lengths> question_{}, answer_{}, turns_{}, pictures_{};
  std::array<std::vector<Example>, categories.size()> examples_;  // those of the smallest numbers
};

}  // namespace ov::instruct
