#include "data/synth/output.h"

namespace ov::synth {

Json llava_conversation(const std::string& id, const std::string& image, const QuestionAnswers& turns) {
  Json list = Json::array();
  for (const auto& [question, answer] : turns) {
    const bool first = list.size() == 0 && !image.empty();
    list.push(Json::object({{"from", "human"}, {"value", (first ? "<image>\n" : "") + question}}));
    list.push(Json::object({{"from", "gpt"}, {"value", answer}}));
  }
  Json sample = Json::object({{"id", id}});
  if (!image.empty()) sample.set("image", image);
  sample.set("conversations", list);
  return sample;
}

std::string numbered(const std::string& stem, std::int64_t number, int digits) {
  std::string n = std::to_string(number);
  if (static_cast<int>(n.size()) < digits) n.insert(0, static_cast<std::size_t>(digits) - n.size(), '0');
  return stem + n;
}

}  // namespace ov::synth
