#include "text/pretokenize.h"

#include <doctest/doctest.h>
#include <utf8proc.h>

#include <chrono>
#include <cstdlib>

#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "base/utf8.h"

using namespace ov;
using Words = std::vector<std::string>;

namespace {

Words split(const std::string& text) {
  Words words;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = word_end(text, begin);
    REQUIRE(end > begin);
    REQUIRE(end <= text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

std::string utf8(char32_t c) {
  std::string s;
  append_utf8(s, c);
  return s;
}

bool surrogate(char32_t c) { return c >= 0xD800 && c <= 0xDFFF; }

}  // namespace

TEST_CASE("contractions split off in any case, with the long s, and only the seven of them") {
  CHECK(split("I'll DON'T we'Ve") == Words{"I", "'ll", " DON", "'T", " we", "'Ve"});
  CHECK(split("x'\u017Fsa") == Words{"x", "'\u017F", "sa"});
  CHECK(split("'lL'LLa") == Words{"'lL", "'LL", "a"});
  CHECK(split("'kx") == Words{"'kx"});            // no contraction: an apostrophe that leads letters (rule 2)
  CHECK(split("'\u212Ax") == Words{"'\u212Ax"});  // the Kelvin sign folds to k, which is in none of the seven
  CHECK(split("'r") == Words{"'r"});
  CHECK(split("'") == Words{"'"});
}

TEST_CASE("every number character stands alone") {
  CHECK(split("12345") == Words{"1", "2", "3", "4", "5"});
  CHECK(split(" 67") == Words{" ", "6", "7"});
  CHECK(split("a1\u00BD\u2167") == Words{"a", "1", "\u00BD", "\u2167"});
  CHECK(split("12345") != Words{"123", "45"});  // the twin: groups of three, as other tokenizers have it
}

TEST_CASE("one leading character joins letters, a line end never does") {
  CHECK(split("a  b") == Words{"a", " ", " b"});
  CHECK(split("(ab)") == Words{"(ab", ")"});
  CHECK(split("\tx\nx") == Words{"\tx", "\n", "x"});
  CHECK(split("\u00A0x") == Words{"\u00A0x"});
}

TEST_CASE("symbols take one blank before and the line ends behind") {
  CHECK(split(" !!\r\n\nx") == Words{" !!\r\n\n", "x"});
  CHECK(split("  !!") == Words{" ", " !!"});
  CHECK(split("\t!!") == Words{"\t", "!!"});
}

TEST_CASE("white space reaches to its last line end, else leaves one character to what follows") {
  CHECK(split("\n \n  \n") == Words{"\n \n  \n"});
  CHECK(split(" \n  x") == Words{" \n", " ", " x"});
  CHECK(split("x   ") == Words{"x", "   "});
  CHECK(split(" \u3000\u20031") == Words{" \u3000", "\u2003", "1"});
  CHECK(split(" 1") == Words{" ", "1"});
}

TEST_CASE("any bytes split into words that put together give them back, once repaired") {
  std::uint32_t state = 1;
  const auto random = [&](std::uint32_t n) {
    state = state * 1664525u + 1013904223u;
    return (state >> 16) % n;
  };
  const Words pieces = {"'",      "s",      "LL",     " ", "\t",       "\n",   "\r",    "1",
                        "\u00E9", "\u4E2D", "\u3000", "!", "\xF0\x9F", "\xFF", "\u0301"};
  for (int k = 0; k < 2000; ++k) {
    std::string text;
    for (std::uint32_t n = random(12); n > 0; --n) text += pieces[random(static_cast<std::uint32_t>(pieces.size()))];
    text = valid_utf8(text);
    std::string whole;
    for (const std::string& w : split(text)) whole += w;
    CHECK(whole == text);
  }
}

TEST_CASE("letters and numbers of Unicode 15.1 and 16 are known, whatever the library's age") {
  for (const char32_t c : {0x1C89, 0xA7CB, 0x2EBF0, 0x13460, 0x16D6C}) CHECK(is_letter(c));
  for (const char32_t c : {0x10D40, 0x116E3, 0x1CCF9}) CHECK(is_number(c));
  CHECK(!is_letter(0x1C8B));   // unassigned
  CHECK(!is_letter(0x1F600));  // a symbol
  CHECK(!is_number(0x4E09));   // Han three is a letter
  CHECK(is_white_space(0x85));
  CHECK(!is_white_space(0x200B));
}

TEST_CASE("broken UTF-8 becomes one U+FFFD per maximal part, as Python's errors=replace has it") {
  const std::string r = "\uFFFD";
  CHECK(valid_utf8("a\xFFz") == "a" + r + "z");
  CHECK(valid_utf8("\xE2\x82") == r);  // a truncated euro sign is one part
  CHECK(valid_utf8("\xF0\x9F\x98") == r);
  CHECK(valid_utf8("\xE2\x28\xA1") == r + "(" + r);
  CHECK(valid_utf8("\xC0\xAF") == r + r);                  // overlong
  CHECK(valid_utf8("\xED\xA0\x80") == r + r + r);          // a surrogate
  CHECK(valid_utf8("\xF4\x90\x80\x80") == r + r + r + r);  // beyond U+10FFFF
  CHECK(valid_utf8("\xE4\xB8\xAD\xF0\x9F\x98\x80") == "\u4E2D\U0001F600");
}

TEST_CASE("NFC composes, orders marks, and leaves marks newer than the reference's tables where they stand") {
  CHECK(nfc("e\u0301") == "\u00E9");
  CHECK(nfc("\u212B \u2126 \u1100\u1161\u11A8") == "\u00C5 \u03A9 \uAC01");
  CHECK(nfc("\uFB01") == "\uFB01");  // a compatibility form stays
  CHECK(nfc("q\u0301\u0323") == "q\u0323\u0301");
  CHECK(nfc("a\u0C3C\u0301\u0323") == "a\u0C3C\u0323\u0301");  // U+0C3C, class 7 since Unicode 14, is not sorted in
  CHECK(nfc(std::string("a\0e\u0301", 5)) == std::string("a\0\u00E9", 4));
}

TEST_CASE("NFC of marks in any order is the library's, and takes no square of a run's length") {
  const auto by_library = [](const std::string& text) {
    utf8proc_uint8_t* out = nullptr;
    const auto n =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                     &out, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    REQUIRE(n >= 0);
    const std::string whole(reinterpret_cast<const char*>(out), static_cast<std::size_t>(n));
    std::free(out);
    return whole;
  };
  const Words pieces = {"a",      "e",      "\u0301", "\u0323", "\u0327", "\u0344", "\u0F73", "\u0F81", "\u1E69",
                        "\u00E9", "\u1100", "\u1161", "\u11A8", "\uAC00", "\u0345", "\u05B0", "\u0300", "\u2126"};
  std::uint32_t state = 1;
  for (int k = 0; k < 5000; ++k) {
    std::string text;
    for (std::uint32_t n = k % 13; n > 0; --n) {
      state = state * 1664525u + 1013904223u;
      text += pieces[(state >> 16) % pieces.size()];
    }
    CHECK_MESSAGE(nfc(text) == by_library(text), text);
  }
  for (const std::string pair : {"\u0301\u0323", "\u0F73", "\u0344\u0327"}) {
    std::string text = "a";
    for (int k = 0; k < 200000; ++k) text += pair;
    const auto begin = std::chrono::steady_clock::now();
    CHECK(nfc(text).size() >= 400000);
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10));  // before: minutes
  }
}

TEST_CASE("what the fast path calls inert neither changes nor takes part in any composition") {
  std::set<char32_t> second_halves;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (surrogate(c)) continue;
    utf8proc_int32_t parts[8];
    int last_class = 0;
    const auto n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts, 8, UTF8PROC_DECOMPOSE, &last_class);
    for (utf8proc_ssize_t k = 1; k < n; ++k) second_halves.insert(static_cast<char32_t>(parts[k]));
  }
  int checked = 0, wrong = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (surrogate(c) || !nfc_inert(c)) continue;
    ++checked;
    // "\u0F71" is no neighbour of an inert character, but forces the full path.
    const std::string text = utf8(c) + "\u0F71";
    const auto* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
    wrong += property->combining_class != 0 || second_halves.count(c) > 0 || nfc(text) != text;
  }
  CHECK(checked > 40000);
  CHECK(wrong == 0);
  CHECK(!nfc_inert(0x301));   // the twins: a mark,
  CHECK(!nfc_inert(0x2126));  // a singleton,
  CHECK(!nfc_inert(0x11A8));  // and a final jamo
}
