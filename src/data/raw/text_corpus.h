// Text without pictures, for pre-training the decoder: JSON lines or an array as records, each record as a sample.
//
//   {"text": "..."}                                                     a document
//   {"prefix": "...", "turns": [{"question": "...", "answer": "..."}]}  questions about a description, which stands
//                                                                       where a picture would; "text" may stand beside
//
// plain   [ text <|endoftext|> ]; every token is learnt but the first, which nothing predicts
// chat    single turns on one picture (data/sample/sample.h, shared_prefix), the description in its place:
//         [ system turn, <|im_start|>user\n, prefix ] [ \n question 1, answer 1 ] [ \n question 2, answer 2 ] ...
//         Answers are learnt as in text/conversation.h, and the description itself as `learn_prefix` says. With an
//         empty prefix there is no line end before the questions.
//
// A description is encoded by itself, as what stands before a picture's end is, and text that spells a token of the
// format stays text: a corpus cannot forge structure.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/load/loader.h"
#include "data/raw/json_records.h"
#include "text/chat.h"

namespace ov {

enum class LearnPrefix {
  all,        // every token of the description
  but_first,  // all but its first, which can only be guessed
  none        // answers alone
};

struct TextCorpusOptions {
  std::vector<std::string> files = {};  // of JSON; records are numbered through all of them
  bool plain = false;                   // documents only: records with turns are read as their "text"
  LearnPrefix learn_prefix = LearnPrefix::all;
  std::int64_t max_tokens = 32768;  // of one sample
};

struct TextRecord {
  std::string where;  // "corpus.jsonl:12"
  std::string text, prefix;
  struct Question {
    std::string question, answer;
  };
  std::vector<Question> turns;
};

// Throws Rejected (malformed_record) with a message that starts with `where`.
TextRecord read_text_record(const Json& json, const std::string& where);
// Throws Rejected: no_answer (an empty answer), empty_text (no text at all), over_length.
Sample text_sample(const TextRecord& record, const Tokenizer& tokenizer, const TextCorpusOptions& options);

// What a Loader draws from.
class TextCorpus : public SampleSource {
 public:
  // Throws input_error: no file, a file that is missing, no record in all of them, a tokenizer without the tokens of
  // the format.
  TextCorpus(TextCorpusOptions options, const Tokenizer& tokenizer);

  const std::string& path() const override { return options_.files.front(); }
  std::int64_t size() const override { return first_.back(); }
  TextRecord read(std::int64_t index) const;
  Sample sample(std::int64_t index) const override;
  std::string fingerprint() const override;

 private:
  std::size_t file_of(std::int64_t index) const;

  const TextCorpusOptions options_;
  const Tokenizer tokenizer_;
  std::vector<JsonRecords> files_;
  std::vector<std::int64_t> first_ = {0};  // [files + 1] of each file's records
};

}  // namespace ov
