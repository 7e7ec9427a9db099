// One record of instruction data, the form that every step of `curate` reads and writes; and what a step says about it.
//
//   {"id": "docs:17", "source": "docs", "category": "ocr", "lang": "en", "difficulty": 2, "images": ["a.jpg"],
//    "messages": [{"role": "user", "content": "<image>\n..."}, {"role": "assistant", "content": "..."}],
//    "meta": {"licence": "cc-by-4.0", "template": "short_answer.en.7", ...}}
//
// id is the source's name and the record's number in it, from 0: unique, and what every draw is keyed by. meta.id is
// what the record itself called its id.
#pragma once
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "text/conversation.h"

namespace ov::instruct {

// The nine slices of the released set's chart.
inline constexpr std::array<const char*, 9> categories = {"caption",      "chart_table", "code_math", "domain", "vqa",
                                                          "ground_count", "ocr",         "science",   "text"};
inline constexpr std::array<const char*, 2> languages = {"en", "zh"};
inline constexpr int difficulties = 3;

// Where a name stands in one of these lists; -1: nowhere.
template <std::size_t n>
int place_of(const std::array<const char*, n>& list, std::string_view name) {
  for (std::size_t i = 0; i < n; ++i)
    if (name == list[i]) return static_cast<int>(i);
  return -1;
}

struct Record {
  std::string id, source, category, lang;
  int difficulty = 0;
  std::vector<std::string> images;  // paths, ready to open; names alone where the bytes are in memory already
  std::vector<std::string_view> image_bytes;
  std::shared_ptr<const void> memory;  // keeps them
  std::vector<Turn> turns;
  Json meta = Json::object();
  std::string content;  // digest of texts and pictures as they came: what two records have in common

  Turn* first_question();
  std::string question() const;  // the first question, without image tags
  Json json(const std::vector<std::string>& images_as) const;
};

// A record leaves the pipeline. `reason` is one word that is counted, `message` says more.
struct Refused {
  std::string reason, message;
};

template <class... A>
[[noreturn]] void refuse(const std::string& reason, const A&... message) {
  throw Refused{reason, cat(message...)};
}

// What a step changed, for the audit log: "masked", "email in message 2".
struct Note {
  std::string what, message;
};
using Notes = std::vector<Note>;

// A number from 0 to n - 1 that depends on nothing but the seed, what is drawn, and the record.
std::size_t drawn(std::uint64_t seed, const char* purpose, const std::string& id, std::size_t n);

std::string collapsed(std::string_view text);     // blanks and line ends as one blank each, none at the ends
std::string without_tags(std::string_view text);  // without <image>, trimmed
std::string lowered(std::string_view text);       // A to Z as a to z

// The words of a text: runs of letters and digits, and each character of Han, kana and Hangul. Thai, which has no
// blanks between words either, comes as one.
std::vector<std::string> words_of(std::string_view text);

// "en", "zh", or "other" for a text mostly in another script; "" where there are no letters.
std::string language_of(std::string_view text);

}  // namespace ov::instruct
