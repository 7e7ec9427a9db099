// Small pieces of what the generators write.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"

namespace ov::synth {

using QuestionAnswers = std::vector<std::pair<std::string, std::string>>;

// One sample of LLaVA's conversation JSON; the first question carries "<image>\n" unless `image` is empty.
Json llava_conversation(const std::string& id, const std::string& image, const QuestionAnswers& turns);

// "picture_000042": names sort as their numbers do.
std::string numbered(const std::string& stem, std::int64_t number, int digits);

}  // namespace ov::synth
