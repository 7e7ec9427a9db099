#include "text/tokenizer.h"

#include <doctest/doctest.h>

#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;
using Ids = std::vector<std::int64_t>;

namespace {

Ids ids_of(const Json& list) {
  Ids ids;
  for (const Json& id : list.items()) ids.push_back(id.as_int());
  return ids;
}

const Tokenizer& golden() {
  static const Tokenizer t = Tokenizer::read("tests/golden/tokenizer");
  return t;
}

const Tokenizer& qwen2() {
  static const Tokenizer t = Tokenizer::from_merges("tests/golden/qwen_vocab/merges.txt", qwen2_added_tokens(151643));
  return t;
}

std::string message_of(Tokenizer::Parts parts) {
  return thrown([&] { Tokenizer(std::move(parts), "here"); });
}

Tokenizer::Parts bytes_only() {
  Tokenizer::Parts parts;
  for (const unsigned char b : byte_order()) {
    const char byte = static_cast<char>(b);
    parts.vocabulary.emplace_back(symbol_text({&byte, 1}), static_cast<std::int64_t>(parts.vocabulary.size()));
  }
  return parts;
}

}  // namespace

TEST_CASE("hostile strings: ids and both decodings equal the reference's") {
  const Json cases = Json::read("tests/golden/tokenizer/tokenizer_cases.json");
  REQUIRE(cases.size() > 0);
  for (const Json& c : cases.items()) {
    const std::string& text = c.at("text").as_string();
    CAPTURE(text);
    const Ids ids = golden().encode(text);
    CHECK(ids == ids_of(c.at("ids")));
    CHECK(golden().decode(ids, false) == c.at("decoded").as_string());
    CHECK(golden().decode(ids) == c.at("decoded_skip_special").as_string());
  }
}

TEST_CASE("the real Qwen2 vocabulary from its merges alone: size, known ids, digits one by one (M-36, M-37)") {
  CHECK(qwen2().bpe().id_limit() == 151643);
  CHECK(qwen2().vocab_size() == 151665);
  CHECK(qwen2().encode("Hello world") == Ids{9707, 1879});
  CHECK(qwen2().encode(" Hello world") == Ids{21927, 1879});
  CHECK(qwen2().encode("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n") ==
        Ids{151644, 8948, 198, 2610, 525, 264, 10950, 17847, 13, 151645, 198});
  CHECK(qwen2().encode("2024").size() == 4);
  CHECK(qwen2().encode("<think>").size() > 1);  // Qwen3's own addition, not a token here
  CHECK(qwen2().token_id("<|file_sep|>") == 151664);
  CHECK(qwen2().token_id("\u0120Hello") == 21927);
  CHECK(!qwen2().token_id("<think>"));
  CHECK(qwen2().eos() == 151645);
  CHECK(qwen2().pad() == 151643);
}

TEST_CASE("merging follows rank, then place: a wrong rule gives other ids") {
  auto parts = bytes_only();
  const auto add = [&](const char* left, const char* right) {
    parts.vocabulary.emplace_back(std::string(left) + right, static_cast<std::int64_t>(parts.vocabulary.size()));
    parts.merges.push_back({left, right});
  };
  add("b", "c");    // 256
  add("a", "b");    // 257
  add("a", "bc");   // 258
  add("a", "a");    // 259
  add("aa", "aa");  // 260
  const Tokenizer t(std::move(parts), "here");
  const auto id = [&](const char* text) { return *t.token_id(text); };
  CHECK(t.encode("abc") == Ids{258});  // longest match or left to right would give ab, c
  CHECK(t.encode("abab") == Ids{257, 257});
  CHECK(t.encode("aaaaa") == Ids{260, id("a")});
  CHECK(t.encode("aaa") == Ids{259, id("a")});  // leftmost first, not a, aa
}

TEST_CASE("a long word without blanks is merged in time n log n, and as in pieces") {
  std::string text;
  for (std::int64_t k = 0; k < 200000; ++k) text += static_cast<char>('a' + k * k % 23);
  const Ids ids = qwen2().encode(text);
  CHECK(qwen2().decode(ids) == text);
  CHECK(ids.size() < text.size());
}

TEST_CASE("added tokens are found in the raw text, the leftmost and longest; as text they are ordinary letters") {
  auto parts = bytes_only();
  parts.added = {{256, "<a>", true}, {257, "<a><b>", true}, {258, "<tool>", false}};
  const Tokenizer t(std::move(parts), "here");
  CHECK(t.encode("<a><a><b><tool>") == Ids{256, 257, 258});
  CHECK(t.decode(Ids{256, 258, 257}) == "<tool>");  // only special ones are left out
  CHECK(t.encode("<a>", false).size() == 3);
  CHECK(t.decode(t.encode("<a>", false)) == "<a>");
}

TEST_CASE("broken UTF-8 in, and half a character out, give U+FFFD; ids without a token give nothing") {
  CHECK(golden().encode("a\xFF") == golden().encode("a\uFFFD"));
  const Ids euro = Tokenizer::read("data/tokenizer").encode("\u20AC");
  REQUIRE(euro.size() == 3);
  const Tokenizer bytes = Tokenizer::read("data/tokenizer");
  CHECK(bytes.decode(Ids{euro[0], euro[1]}) == "\uFFFD");
  CHECK(bytes.decode(euro) == "\u20AC");
  CHECK(bytes.decode(Ids{100000, -100}) == "");
}

TEST_CASE("any bytes survive encode and decode once repaired, and many threads get what one gets") {
  std::string text;
  std::uint32_t state = 7;
  for (int k = 0; k < 20000; ++k) {
    state = state * 1664525u + 1013904223u;
    text += static_cast<char>(state >> (k % 3 == 0 ? 24 : 25));
  }
  const auto plain = [](const Tokenizer& t, std::string_view s) { return t.decode(t.encode(s, false), false); };
  CHECK(plain(Tokenizer::read("data/tokenizer"), "caf\u00E9 \x80 <|im_end|>") == "caf\u00E9 \uFFFD <|im_end|>");
  const Ids expected = qwen2().encode(text);
  std::vector<Ids> results(20);  // more than there are workspaces
  std::vector<std::thread> threads;
  for (Ids& r : results) threads.emplace_back([&] { r = qwen2().encode(text); });
  for (auto& t : threads) t.join();
  for (const Ids& r : results) CHECK(r == expected);
}

TEST_CASE("parts that contradict each other are named") {
  auto parts = bytes_only();
  parts.merges = {{"a", "b"}};
  CHECK(message_of(parts) == "here: merge 1 ('a' 'b') needs the symbol 'ab', which is not in the vocabulary");

  parts = bytes_only();
  parts.vocabulary.pop_back();
  CHECK(message_of(parts).find("here: byte 173 has no symbol") == 0);

  parts = bytes_only();
  parts.vocabulary.emplace_back("ab", 3);
  CHECK(message_of(parts) == "here: id 3 belongs to both '$' and 'ab'");

  parts = bytes_only();
  parts.vocabulary.emplace_back("a", 300);
  CHECK(message_of(parts).find("here: symbol 'a' has two ids") == 0);

  parts = bytes_only();
  parts.vocabulary.emplace_back("ab", std::int64_t{1} << 40);
  CHECK(message_of(parts).find("has id 1099511627776") != std::string::npos);

  parts = bytes_only();
  parts.added = {{256, "<a>", true}, {256, "<b>", true}};
  CHECK(message_of(parts) == "here: id 256 belongs to both '<a>' and '<b>'");
  parts.added = {{65, "<a>", true}};
  CHECK(message_of(parts).find("here: id 65 of the added token '<a>' belongs to the symbol") == 0);
  parts.added = {{256, "<a>", true}};
  parts.eos = "<b>";
  CHECK(message_of(parts) == "here: eos_token '<b>' is not a token");
}
