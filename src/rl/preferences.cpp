#include "rl/preferences.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace ov::rl {
namespace {

const Json* given(const Json& json, const char* key) {
  const Json* v = json.find(key);
  return v && !v->is_null() ? v : nullptr;
}

// A message's content as text with tags.
std::string content_of(const Json& message, const std::string& where) {
  const Json* content = given(message, "content");
  if (content && content->is_string()) return content->as_string();
  if (!content || !content->is_array())
    input_error(where, ": content: expected a text or a list of parts, found ", content ? content->shown() : "nothing");
  std::string text;
  for (const Json& part : content->items()) {
    const Json* type = part.is_object() ? given(part, "type") : nullptr;
    const std::string kind = type && type->is_string() ? type->as_string() : "";
    const Json* own = part.is_object() ? given(part, "text") : nullptr;
    if (kind == "image") text += image_tag;
    else if (kind == "text" && own && own->is_string()) text += own->as_string();
    else input_error(where, ": content: expected parts of type text or image, found ", part.shown());
  }
  return text;
}

std::vector<Turn> messages_of(const Json& list, const std::string& where) {
  std::vector<Turn> turns;
  for (const Json& message : list.items()) {
    const std::string place = cat(where, ": message ", turns.size() + 1);
    const Json* role = message.is_object() ? given(message, "role") : nullptr;
    if (!role || !role->is_string() ||
        (role->as_string() != "system" && role->as_string() != "user" && role->as_string() != "assistant"))
      input_error(place, ": role: expected system, user or assistant, found ", role ? role->shown() : message.shown());
    turns.push_back({role->as_string(), content_of(message, place)});
  }
  return turns;
}

bool same(const Turn& a, const Turn& b) { return a.role == b.role && a.text == b.text; }

}  // namespace

void read_preference(const Json& json, std::size_t pictures, Record& r) {
  const auto of = [&](const char* key) {
    const Json* v = given(json, key);
    if (!v || !(v->is_string() || v->is_array()))
      input_error(r.where, ": ", key, ": expected a text or messages, found ", v ? v->shown() : "nothing");
    return v->is_string() ? std::vector<Turn>{{"assistant", v->as_string()}} : messages_of(*v, cat(r.where, ": ", key));
  };
  std::vector<Turn> chosen = of("chosen"), rejected = of("rejected");
  const Json* prompt = given(json, "prompt");
  if (!prompt) prompt = given(json, "question");
  if (prompt && prompt->is_string()) r.turns = {{"user", prompt->as_string()}};
  else if (prompt && prompt->is_array()) r.turns = messages_of(*prompt, cat(r.where, ": prompt"));
  else if (prompt) input_error(r.where, ": prompt: expected a text or messages, found ", prompt->shown());
  std::size_t common = 0;
  while (!prompt && common + 1 < std::min(chosen.size(), rejected.size()) && same(chosen[common], rejected[common]))
    r.turns.push_back(chosen[common++]);
  for (auto* answer : {&chosen, &rejected}) {
    answer->erase(answer->begin(), answer->begin() + static_cast<std::ptrdiff_t>(common));
    if (answer->size() != 1 || answer->front().role != "assistant")
      input_error(r.where, ": ", answer == &chosen ? "chosen" : "rejected",
                  ": expected one message of the assistant behind the prompt, found ", answer->size(), " messages",
                  prompt ? "" : "; without a prompt, both begin with the same messages");
  }
  if (r.turns.empty() || r.turns.back().role != "user")
    input_error(r.where, ": prompt: expected a question of the user at its end");
  r.chosen = chosen[0].text, r.rejected = rejected[0].text;
  if (r.chosen == r.rejected) input_error(r.where, ": chosen and rejected are the same text");
  std::int64_t tags = 0;
  for (const Turn& t : r.turns) tags += tags_in(t.text);
  if (tags == 0 && pictures > 0) {
    Turn& first = *std::find_if(r.turns.begin(), r.turns.end(), [](const Turn& t) { return t.role == "user"; });
    std::string all;
    for (std::size_t i = 0; i < pictures; ++i) all += image_tag;
    first.text = all + "\n" + first.text, tags = static_cast<std::int64_t>(pictures);
  }
  if (tags != static_cast<std::int64_t>(pictures))
    input_error(r.where, ": prompt: ", tags, " <image> tag(s) for ", pictures, " picture(s)");
}

Pair make_pair(const Record& r, std::vector<Image> pictures, const Processor& processor, const PixelLimits& limits) {
  Pair out;
  const std::vector<std::int64_t> image_tokens =
      add_pictures(out.prompt, std::move(pictures), processor.with_limits(limits).images(), r.where, false);
  std::vector<Message> messages;
  for (const Turn& t : r.turns) messages.push_back({t.role, contents_of(t.text)});
  out.prompt.input_ids =
      encode_chat(processor.tokenizer(), messages, image_tokens,
                  {.add_generation_prompt = true, .line_after_picture = processor.line_after_picture});
  const ChatTokens chat = ChatTokens::of(processor.tokenizer());
  for (const auto& [text, ids] : {std::pair{&r.chosen, &out.chosen}, {&r.rejected, &out.rejected}}) {
    *ids = processor.tokenizer().encode(*text + "<|im_end|>\n");
    for (const std::int64_t id : *ids)
      if (id == chat.image_pad || id == chat.video_pad)
        input_error(r.where, ": ", text == &r.chosen ? "chosen" : "rejected", ": spells a picture's placeholder");
  }
  return out;
}

}  // namespace ov::rl
