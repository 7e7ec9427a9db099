// Every code point and twenty thousand random strings with the real vocabulary, against the hashes that
// tests/golden/qwen_vocab/make_hashes.py made with Hugging Face tokenizers. The strings are made as there.
#include <doctest/doctest.h>

#include <array>
#include <ctime>

#include "base/json.h"
#include "base/parallel.h"
#include "base/sha256.h"
#include "text/tokenizer.h"

using namespace ov;

namespace {

std::string utf8(std::uint32_t c) {
  const auto byte = [](std::uint32_t b) { return static_cast<char>(b); };
  if (c < 0x80) return {byte(c)};
  if (c < 0x800) return {byte(0xc0 | c >> 6), byte(0x80 | (c & 63))};
  if (c < 0x10000) return {byte(0xe0 | c >> 12), byte(0x80 | (c >> 6 & 63)), byte(0x80 | (c & 63))};
  return {byte(0xf0 | c >> 18), byte(0x80 | (c >> 12 & 63)), byte(0x80 | (c >> 6 & 63)), byte(0x80 | (c & 63))};
}

class SplitMix64 {
 public:
  explicit SplitMix64(std::uint64_t seed) : state_(seed) {}
  std::uint64_t below(std::uint64_t n) {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % n;
  }

 private:
  std::uint64_t state_;
};

std::string random_string(std::uint64_t i) {
  static constexpr std::array<std::array<std::uint32_t, 2>, 20> classes = {
      {{0x61, 26},      {0x41, 26},      {0x30, 10},     {0x20, 1},     {0x09, 5},
       {0x21, 15},      {0xa0, 96},      {0x300, 112},   {0x370, 144},  {0x400, 256},
       {0x600, 256},    {0x900, 128},    {0x2000, 112},  {0x3040, 192}, {0x4e00, 20992},
       {0xac00, 11172}, {0x1f300, 1024}, {0xe000, 4096}, {0, 0xd800},   {0x10000, 0x100000}}};
  SplitMix64 draw(i);
  std::string out;
  for (std::uint64_t n = 1 + draw.below(40); n > 0; --n) {
    const auto [first, count] = classes[draw.below(classes.size())];
    out += utf8(first + static_cast<std::uint32_t>(draw.below(count)));
  }
  return out;
}

std::string block_hash(const Tokenizer& tokenizer, const std::vector<std::string>& strings) {
  std::string bytes;
  const auto write = [&](std::uint32_t id) {
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(id >> shift);
  };
  for (const std::string& s : strings) {
    for (const std::int64_t id : tokenizer.encode(s)) write(static_cast<std::uint32_t>(id));
    write(0xffffffffu);
  }
  return sha256(bytes).substr(0, 16);
}

// The blocks whose hash is another.
template <class F>
std::string wrong_blocks(const Json& hashes, F&& strings) {
  static const Tokenizer tokenizer = Tokenizer::from_merges("tests/golden/qwen_vocab/merges.txt");
  std::vector<char> wrong(hashes.size());
  parallel_for(static_cast<std::int64_t>(hashes.size()), 1, [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    wrong[at] = block_hash(tokenizer, strings(static_cast<std::uint32_t>(i))) != hashes.items()[at].as_string();
  });
  std::string named;
  for (std::size_t i = 0; i < wrong.size(); ++i)
    if (wrong[i]) named += std::to_string(i) + " ";
  return named;
}

}  // namespace

TEST_CASE("tokenizer: every code point, alone and beside others, has Hugging Face's ids with the real vocabulary") {
  const Json hashes = Json::read("tests/golden/qwen_vocab/hashes.json");
  const auto strings = [](std::uint32_t block) {
    std::vector<std::string> all;
    for (std::uint32_t c = 256 * block; c < 256 * block + 256; ++c) {
      if (c >= 0xd800 && c < 0xe000) continue;
      const std::string x = utf8(c);
      all.push_back(x);
      all.push_back("x" + x + x + " " + x + "7" + x + "\n" + x);
    }
    return all;
  };
  REQUIRE(hashes.at("code_points_by_256").size() == 0x1100);
  CHECK(wrong_blocks(hashes.at("code_points_by_256"), strings) == "");
}

TEST_CASE("tokenizer: random strings have Hugging Face's ids with the real vocabulary") {
  const Json hashes = Json::read("tests/golden/qwen_vocab/hashes.json");
  REQUIRE(hashes.at("random_by_100").size() > 0);
  const auto strings = [](std::uint32_t block) {
    std::vector<std::string> all;
    for (std::uint32_t i = 100 * block; i < 100 * block + 100; ++i) all.push_back(random_string(i));
    return all;
  };
  CHECK(wrong_blocks(hashes.at("random_by_100"), strings) == "");
}

// A merge that scanned the whole word for its next pair would take a hundred times as long for ten times the text. On
// an idle core a megabyte takes 0.1 to 0.6 s.
TEST_CASE(
    "tokenizer: time grows with the text and not with its square, for one letter, blanks, emoji, combining marks") {
  const Tokenizer tokenizer = Tokenizer::from_merges("tests/golden/qwen_vocab/merges.txt");
  const auto seconds = [&](const std::string& one, std::size_t bytes) {
    std::string text;
    while (text.size() < bytes) text += one;
    const std::clock_t start = std::clock();
    CHECK(tokenizer.encode(text).size() > 0);
    return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  };
  for (const std::string one : {"a", " ", "7", "\n", "\U0001f600", "\u0301", "e\u0301", "\u5b57", "\u0644"}) {
    const double little = seconds(one, 100'000), much = seconds(one, 1'000'000);
    CHECK_MESSAGE(much < 30 * little + 0.05, one, ": ", little, " s and ", much, " s");
  }
}
