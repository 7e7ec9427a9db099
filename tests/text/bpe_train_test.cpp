#include "text/bpe_train.h"

#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "tests/base/scratch.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"

using namespace ov;

namespace {

// "l o, lo w, ..." with the blank's stand-in as _.
std::string learn(const std::string& text, std::int64_t merges, std::int64_t min_count) {
  BpeTrainer trainer;
  trainer.add(text);
  std::string out;
  for (const Merge& m : trainer.train(merges, min_count)) out += (out.empty() ? "" : ", ") + m.left + " " + m.right;
  for (std::size_t at; (at = out.find("\u0120")) != out.npos;) out.replace(at, 2, "_");
  return out;
}

// The definition, without any bookkeeping: recount every pair before every merge.
std::vector<std::string> by_definition(const std::string& text, std::size_t merges, std::int64_t min_count) {
  std::vector<std::vector<int>> words;
  std::vector<std::string> symbols;
  std::map<std::string, int> ids;
  for (const unsigned char b : byte_order()) {
    ids.emplace(std::string(1, static_cast<char>(b)), static_cast<int>(symbols.size()));
    symbols.emplace_back(1, static_cast<char>(b));
  }
  for (std::size_t begin = 0, end; begin < text.size(); begin = end) {
    end = word_end(text, begin);
    words.emplace_back();
    for (std::size_t i = begin; i < end; ++i) words.back().push_back(ids.at(text.substr(i, 1)));
  }
  std::vector<std::string> result;
  while (result.size() < merges) {
    std::map<std::pair<int, int>, std::int64_t> counts;
    for (const auto& w : words)
      for (std::size_t i = 0; i + 1 < w.size(); ++i) ++counts[{w[i], w[i + 1]}];
    std::pair<int, int> best;
    std::int64_t most = min_count - 1;
    for (const auto& [pair, n] : counts)
      if (n > most) best = pair, most = n;
    if (most < min_count) break;
    const std::string &left = symbols[static_cast<std::size_t>(best.first)],
                      &right = symbols[static_cast<std::size_t>(best.second)];
    result.push_back(left + "|" + right);
    const std::string both = left + right;
    const int id = ids.emplace(both, static_cast<int>(symbols.size())).first->second;
    if (id == static_cast<int>(symbols.size())) symbols.push_back(both);
    for (auto& w : words)
      for (std::size_t i = 0; i + 1 < w.size(); ++i)
        if (w[i] == best.first && w[i + 1] == best.second) {
          w[i] = id;
          w.erase(w.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        }
  }
  return result;
}

}  // namespace

TEST_CASE("merges are those of Hugging Face's trainer: counts, ties, overlaps, digits, NFC, smallest count") {
  CHECK(learn("aaaaaaa aaaa aaa aa", 50, 1) == "a a, _ aa, aa aa, aa a, _aa a, _aa aa, aaaa aaa");
  CHECK(
      learn("low low low low low lower lower newest newest newest newest newest newest widest widest widest", 50, 2) ==
      "e s, es t, l o, lo w, e w, n ew, _ low, _ new, _new est, d est, i dest, w idest, _ widest, e r, _low er");
  CHECK(learn("1212 1212 don't don't caf\u00E9 cafe\u0301", 50, 2) ==
        "' t, a f, c af, d o, \u00C3 \u00A9, _ caf, _ do, _caf \u00C3\u00A9, _do n");
}

TEST_CASE("learning with bookkeeping gives what recounting before every merge gives") {
  std::string text;
  std::uint32_t state = 11;
  for (int k = 0; k < 3000; ++k) {
    state = state * 1664525u + 1013904223u;
    text += "aaab cd  e\n"[(state >> 16) % 11];
  }
  BpeTrainer trainer;
  trainer.add(text);
  std::vector<std::string> ours;
  for (const Merge& m : trainer.train(100, 2)) ours.push_back(*symbol_bytes(m.left) + "|" + *symbol_bytes(m.right));
  CHECK(ours.size() == 100);
  CHECK(ours == by_definition(text, 100, 2));
  CHECK(ours != by_definition(text + " dddddddddddddddddddd", 100, 2));  // the twin: another text
}

TEST_CASE("what is learnt becomes a tokenizer that shortens the text and gives it back") {
  const std::string text = "the box is red, the box is blue; the circle is red.";
  BpeTrainer trainer;
  trainer.add(text);
  const ScratchDirectory out;
  std::ofstream file(out / "merges.txt");
  for (const Merge& m : trainer.train(40)) file << m.left << ' ' << m.right << '\n';
  file.close();
  const Tokenizer t = Tokenizer::from_merges(out / "merges.txt");
  CHECK(t.encode(text).size() < text.size() / 2);
  CHECK(t.decode(t.encode(text)) == text);
  CHECK(t.token_id("\u0120box").has_value());
}

TEST_CASE("learning from nothing gives nothing, and senseless sizes are refused") {
  CHECK(BpeTrainer().train(10).empty());
  CHECK_THROWS_AS(BpeTrainer().train(-1), Error);
  CHECK_THROWS_AS(BpeTrainer().train(1, 0), Error);
}
