// A byte-level BPE tokenizer learnt from files: Qwen2's pre-tokeniser and added tokens, merges of one's own.
//
//   ids 0 .. 255         the bytes, in the order of GPT-2 and Qwen2 (text/bpe.h)
//   256 .. V - 1         the results of the merges, in the order they were learnt (text/bpe_train.h)
//   V .. V + 21          Qwen2's added tokens, <|endoftext|> first
//   V + 22 ..            added tokens of one's own; none of them is special: decoding keeps them
//
// Counted is what training will encode. Of JSON (.json, .jsonl) the strings under "text", "prefix", "question",
// "answer", "value" and "content", wherever they stand, <image> tags taken out, cut at one's own added tokens; any
// other file is text as it is. What the chat format writes around them is counted as often: a role for every turn, the
// default system prompt for every record with turns.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace ov {

struct LearnTokenizerOptions {
  std::vector<std::string> files;
  std::int64_t vocabulary =
      768;                     // V: bytes and merges, without the added tokens; fewer when the text has no more pairs
  std::int64_t min_count = 2;  // a pair that occurs less often is not merged
  std::vector<std::string> added = {};
};

// Throws input_error: no file, a file that is missing or not well formed, no text in all of them, vocabulary below 256,
// an added token that is empty or that stands twice.
Tokenizer learn_tokenizer(const LearnTokenizerOptions& options);

}  // namespace ov
