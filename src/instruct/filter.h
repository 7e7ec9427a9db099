// Which records are worth learning (data/instruct/filters.json, which gives each rule's source): the length of
// captions, repetition, languages, pictures that can be opened.
#pragma once
#include <string>
#include <vector>

#include "instruct/record.h"

namespace ov::instruct {

struct FilterRules {
  std::array<std::array<std::int64_t, 2>, instruct::languages.size()> caption_characters{};
  std::int64_t same_word = 8, repeated_words = 8, repeated_from = 64, record_words = 8000, pictures = 64;
  std::int64_t most_pixels = 100000000;
  double repeated_most = 0.3;
  std::vector<std::string> learnt;  // languages
  bool decode = true;

  static FilterRules read(const std::string& path);  // throws input_error that names the key
  // Throws Refused, and Rejected for a picture. Adds the pictures' digests to the record's content.
  void apply(Record& r, Notes& notes) const;
};

// The longest run of one word; and the share of runs of n words that stood there before.
std::int64_t longest_run(const std::vector<std::string>& words);
double repeated_share(const std::vector<std::string>& words, std::int64_t n);

}  // namespace ov::instruct
