// Conversations in the other language without a model: a bank of phrases that say the same in both
// (data/instruct/phrases.json). What the bank does not hold word for word stays as it is, so nothing is guessed.
//
//   {"words": {"color": {"red": "红色", ...}, ...},
//    "phrases": [{"en": "what color is the {shape} ?", "zh": "{shape} 是 什么 颜色 ?"},
//                {"en": "what does the text say ?", "zh": "图片 中 的 文字 是 什么 ?", "answer": "same"}]}
//
// A slot is a list of words, or {same} and {same2}: capitals, digits and marks, which are written the same. An answer
// is translated if it is yes or no, a phrase, or words of the lists that its question names, with commas between them;
// it is the same if it has no small letters (a number, a box, a code), or is read from the picture: "answer": "same".
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "instruct/record.h"

namespace ov::instruct {

class PhraseBank {
 public:
  // Throws input_error that names the entry: a slot of no list or not in both languages, a word or phrase that could be
  // translated in two ways.
  static PhraseBank read(const std::string& path);

  // The texts of a conversation (question, answer, question ...) in the language `to`, or none. `same_answer`: the
  // first question is read from the picture though it is no phrase of the bank ("": asked by an instruction alone).
  std::optional<std::vector<std::string>> translated(const std::vector<std::string>& texts, const std::string& to,
                                                     bool same_answer) const;

 private:
  struct Piece {
    std::string text;  // or the slot's name
    bool slot = false;
  };
  struct Phrase {
    std::array<std::string, 2> text;  // by language
    std::array<std::vector<Piece>, 2> pieces;
    std::vector<std::string> kinds;  // of the words of its answer, or "same"
  };
  using Slots = std::vector<std::pair<std::string, std::string>>;  // their values, translated

  bool has(const std::string& kind) const;
  bool match(const std::vector<Piece>& pieces, std::size_t i, std::string_view text, std::size_t to,
             Slots& slots) const;
  const Phrase* find(const std::string& text, std::size_t to, std::string* out) const;
  std::optional<std::string> words(const std::string& text, const std::vector<std::string>& kinds,
                                   std::size_t to) const;
  std::optional<std::string> answer(const std::string& text, const std::vector<std::string>& kinds,
                                    std::size_t to) const;
  const std::string* word_at(std::string_view text, const std::string& kind, std::size_t to, std::size_t* bytes) const;

  std::vector<std::pair<std::string, std::vector<std::array<std::string, 2>>>> lists_;  // by name
  std::vector<Phrase> phrases_;
};

}  // namespace ov::instruct
