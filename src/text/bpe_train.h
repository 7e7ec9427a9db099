// Learns the merges of a byte-level BPE from text (Sennrich et al. 2016, algorithm 1).
//
// Text is repaired, brought to NFC and split into words as the tokenizer does it; the words are counted, and again and
// again the pair of neighbouring symbols that occurs most often, over all words with their counts, is merged
// everywhere. Equal counts go to the pair of smaller ids (left first), where ids are the bytes in byte_order(), then
// the results in order: the choice of Hugging Face's BpeTrainer, whose merges these are. The order in which texts are
// added is irrelevant.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/bpe.h"

namespace ov {

class BpeTrainer {
 public:
  void add(std::string_view text);
  std::int64_t words() const { return static_cast<std::int64_t>(counts_.size()); }  // different ones

  // At most `merges` merges; fewer when no pair is left that occurs at least min_count (>= 1) times. The vocabulary is
  // the 256 bytes and the results: Tokenizer::from_merges's rule.
  std::vector<Merge> train(std::int64_t merges, std::int64_t min_count = 2) const;

 private:
  std::unordered_map<std::string, std::int64_t> counts_;
};

}  // namespace ov
