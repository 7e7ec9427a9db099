// Asks a model the questions of a conversation file and compares its answers with those in the file.
//
// Every question is asked by itself, with the record's pictures, rendered exactly as training with data.turns
// shared_prefix renders it: the ids up to the first labelled one are the prompt.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "data/raw/conversations.h"
#include "data/sample/processor.h"
#include "model/onevision.h"

namespace ov {

struct Recalled {
  std::string image, question, taught, answer;  // the record's first picture, or empty
  bool right = false;                           // the same text, white space at the ends aside
};

struct RecallOptions {
  PixelLimits limits = {};
  std::int64_t max_new_tokens = 64;
  std::vector<std::int64_t> stop;  // read_stop_ids(model directory)
};

std::vector<Recalled> recall(const Onevision& model, const Processor& processor, const ConversationFile& file,
                             const RecallOptions& options, const std::function<void(const Recalled&)>& each = nullptr);

}  // namespace ov
