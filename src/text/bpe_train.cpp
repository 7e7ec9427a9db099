#include "text/bpe_train.h"

#include <algorithm>
#include <array>
#include <queue>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"
#include "text/pretokenize.h"

namespace ov {
namespace {

using Id = std::int32_t;
using Pair = std::pair<Id, Id>;

struct PairHash {
  std::size_t operator()(const Pair& p) const {
    return (static_cast<std::uint64_t>(p.first) << 32 | static_cast<std::uint32_t>(p.second)) * 0x9E3779B97F4A7C15u;
  }
};

struct Word {
  std::vector<Id> symbols;
  std::int64_t count;
};

// Where a pair stands. `words` may name a word twice, and words that have lost the pair since.
struct Occurrences {
  std::int64_t count = 0;
  std::vector<std::size_t> words;
};

struct Candidate {
  std::int64_t count;
  Pair pair;
  bool operator<(const Candidate& other) const {  // the queue's top is the largest
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

class Learner {
 public:
  Learner(const std::unordered_map<std::string, std::int64_t>& counts) {
    std::array<Id, 256> byte_ids{};
    for (std::size_t i = 0; i < 256; ++i) {
      const unsigned char b = byte_order()[i];
      byte_ids[b] = static_cast<Id>(i);
      const char byte = static_cast<char>(b);
      texts_.push_back(symbol_text({&byte, 1}));
      ids_.emplace(texts_.back(), static_cast<Id>(i));
    }
    for (const auto& [text, count] : counts) {
      Word word{{}, count};
      for (const char c : text) word.symbols.push_back(byte_ids[static_cast<unsigned char>(c)]);
      for (std::size_t i = 0; i + 1 < word.symbols.size(); ++i) add(pair_at(word, i), words_.size(), count);
      words_.push_back(std::move(word));
    }
    for (const auto& [pair, where] : pairs_) queue_.push({where.count, pair});
  }

  std::vector<Merge> run(std::int64_t limit, std::int64_t min_count) {
    std::vector<Merge> merges;
    while (static_cast<std::int64_t>(merges.size()) < limit && !queue_.empty()) {
      const Candidate best = queue_.top();
      queue_.pop();
      // Counts only fall behind the queue's back; a rise pushes a fresh candidate.
      const auto found = pairs_.find(best.pair);
      const std::int64_t count = found == pairs_.end() ? 0 : found->second.count;
      if (count != best.count) {
        if (count > 0 && count < best.count) queue_.push({count, best.pair});
        continue;
      }
      if (count < min_count) break;
      const auto [left, right] = best.pair;
      merges.push_back({texts_[static_cast<std::size_t>(left)], texts_[static_cast<std::size_t>(right)]});
      merge(best.pair, std::move(found->second.words));
    }
    return merges;
  }

 private:
  static Pair pair_at(const Word& word, std::size_t i) { return {word.symbols[i], word.symbols[i + 1]}; }

  void add(const Pair& pair, std::size_t word, std::int64_t count) {
    Occurrences& where = pairs_[pair];
    where.count += count;
    if (where.words.empty() || where.words.back() != word) where.words.push_back(word);
  }

  Id symbol(const std::string& text) {
    const auto [place, added] = ids_.emplace(text, static_cast<Id>(texts_.size()));
    if (added) texts_.push_back(text);
    return place->second;
  }

  // Each word that holds the pair loses the counts of all its pairs, is merged, and gains those it has then.
  void merge(const Pair& pair, std::vector<std::size_t> where) {
    const Id result =
        symbol(texts_[static_cast<std::size_t>(pair.first)] + texts_[static_cast<std::size_t>(pair.second)]);
    std::sort(where.begin(), where.end());
    where.erase(std::unique(where.begin(), where.end()), where.end());
    std::vector<Pair> touched;
    for (const std::size_t w : where) {
      Word& word = words_[w];
      std::vector<Id> merged;
      for (std::size_t i = 0; i < word.symbols.size(); ++i) {
        const bool here = i + 1 < word.symbols.size() && pair_at(word, i) == pair;
        merged.push_back(here ? result : word.symbols[i]);
        i += here;
      }
      if (merged.size() == word.symbols.size()) continue;
      for (std::size_t i = 0; i + 1 < word.symbols.size(); ++i) pairs_[pair_at(word, i)].count -= word.count;
      word.symbols = std::move(merged);
      for (std::size_t i = 0; i + 1 < word.symbols.size(); ++i) {
        const Pair p = pair_at(word, i);
        const bool is_new = p.first == result || p.second == result;
        if (is_new) add(p, w, word.count), touched.push_back(p);
        else pairs_[p].count += word.count;
      }
    }
    pairs_.erase(pair);
    std::sort(touched.begin(), touched.end());
    touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
    for (const Pair& p : touched)
      if (const auto found = pairs_.find(p); found != pairs_.end()) queue_.push({found->second.count, p});
  }

  std::vector<std::string> texts_;  // symbol texts by id
  std::unordered_map<std::string, Id> ids_;
  std::vector<Word> words_;
  std::unordered_map<Pair, Occurrences, PairHash> pairs_;
  std::priority_queue<Candidate> queue_;
};

}  // namespace

void BpeTrainer::add(std::string_view text) {
  const std::string normal = nfc(valid_utf8(text));
  for (std::size_t begin = 0; begin < normal.size();) {
    const std::size_t end = word_end(normal, begin);
    ++counts_[normal.substr(begin, end - begin)];
    begin = end;
  }
}

std::vector<Merge> BpeTrainer::train(std::int64_t merges, std::int64_t min_count) const {
  if (merges < 0) input_error("expected a number of merges of at least 0, found ", merges);
  if (min_count < 1) input_error("expected a smallest count of at least 1, found ", min_count);
  return Learner(counts_).run(merges, min_count);
}

}  // namespace ov
