// Preferences, as TRL and the sets on the Hub have them, from JSON lines (or an array) or Parquet:
//
//   prompt             the user's text, or messages; "question" is read as well
//   chosen, rejected   the better and the worse answer: a text, or messages of which the last is the assistant's
//   images or image    pictures: paths beside the file, or in Parquet bytes or structs of bytes and path
//   id, source, template   as of any record (rl/records.h); may be absent
//
// A message has a role (system, user, assistant) and a content: a text, or a list of {"type": "text", "text"} and
// {"type": "image"}. Without a prompt, chosen and rejected are whole conversations, and what they begin with alike is
// the prompt. A text may hold <image> where a picture stands; where none does, all stand before the first question.
//
// What is trained on is the chat with the model's own system message, the prompt's pictures as large as the processor
// makes them, and behind it either answer with <|im_end|> and the line end after it, both of which the original scores.
// The prompt and each answer are encoded by themselves, since a model that writes the answer sees the prompt's ids.
#pragma once
#include "rl/records.h"

namespace ov::rl {

// Fills turns, chosen and rejected in. input_error that names the record: a key missing or of another kind, roles in
// another order, two equal answers, tags that do not fit the pictures.
void read_preference(const Json& json, std::size_t pictures, Record& record);

struct Pair {
  Prompt prompt = {};
  std::vector<std::int64_t> chosen = {}, rejected = {};
};
// input_error for an answer that spells a picture's placeholder.
Pair make_pair(const Record& record, std::vector<Image> pictures, const Processor& processor,
               const PixelLimits& limits = {});

}  // namespace ov::rl
