#include "text/chat.h"

#include <algorithm>

#include "base/error.h"

namespace ov {

std::string render_chat(std::span<const Message> messages, ChatOptions options) {
  std::string out;
  int pictures = 0, videos = 0;
  const auto medium = [&](const char* name, int number, const char* pad) {
    if (options.add_vision_id) out += cat(name, " ", number, ": ");
    out += cat("<|vision_start|>", pad, "<|vision_end|>");
  };
  if (!messages.empty() && messages.front().role != "system")
    out += cat("<|im_start|>system\n", default_system_prompt, "<|im_end|>\n");
  for (const Message& m : messages) {
    out += cat("<|im_start|>", m.role, "\n");
    bool after_picture = false;
    for (const Content& c : m.content) {
      const bool text = c.kind == Content::Kind::text;
      if (after_picture && !(text && (c.text.empty() || c.text[0] == '\n'))) out += "\n";
      after_picture = options.line_after_picture && !text;
      switch (c.kind) {
        case Content::Kind::text: out += c.text; break;
        case Content::Kind::image: medium("Picture", ++pictures, "<|image_pad|>"); break;
        case Content::Kind::video: medium("Video", ++videos, "<|video_pad|>"); break;
      }
    }
    out += "<|im_end|>\n";
  }
  if (options.add_generation_prompt) out += "<|im_start|>assistant\n";
  return out;
}

ChatTokens ChatTokens::of(const Tokenizer& tokenizer) {
  const auto id = [&](const char* text) {
    const auto found = tokenizer.token_id(text);
    if (!found) input_error("the tokenizer has no token '", text, "', which the chat format needs");
    return *found;
  };
  return {id("<|im_start|>"),   id("<|im_end|>"),    id("<|vision_start|>"),
          id("<|vision_end|>"), id("<|image_pad|>"), id("<|video_pad|>")};
}

std::vector<std::int64_t> expand_pads(std::span<const std::int64_t> ids, std::int64_t pad,
                                      std::span<const std::int64_t> counts) {
  const auto pads = static_cast<std::size_t>(std::count(ids.begin(), ids.end(), pad));
  if (pads != counts.size())
    input_error("the text holds ", pads, " picture placeholder(s), but ", counts.size(), " picture(s) were given");
  std::vector<std::int64_t> out;
  std::size_t next = 0;
  for (const std::int64_t id : ids) {
    if (id != pad) {
      out.push_back(id);
      continue;
    }
    const std::int64_t n = counts[next++];
    if (n < 1) input_error("picture ", next, " has ", n, " tokens, expected at least 1");
    out.insert(out.end(), static_cast<std::size_t>(n), pad);
  }
  return out;
}

std::vector<std::int64_t> encode_chat(const Tokenizer& tokenizer, std::span<const Message> messages,
                                      std::span<const std::int64_t> image_tokens, ChatOptions options) {
  return expand_pads(tokenizer.encode(render_chat(messages, options)), ChatTokens::of(tokenizer).image_pad,
                     image_tokens);
}

}  // namespace ov
