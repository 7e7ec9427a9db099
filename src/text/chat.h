// Qwen2.5-VL's chat format. One turn is
//
//   <|im_start|>{role}\n{content}<|im_end|>\n
//
// and a system turn with "You are a helpful assistant." comes first unless the conversation brings its own. A
// picture is <|vision_start|><|image_pad|><|vision_end|>, with nothing added around it; before the model sees it,
// <|image_pad|> becomes one pad per image token, n = t h w / 4 patches of a grid (t, h, w).
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace ov {

inline constexpr const char* default_system_prompt = "You are a helpful assistant.";

struct Content {
  enum class Kind { text, image, video } kind = Kind::text;
  std::string text;  // of a text
};

struct Message {
  std::string role;
  std::vector<Content> content;
};

struct ChatOptions {
  bool add_generation_prompt = false;  // ends with "<|im_start|>assistant\n"
  bool add_vision_id = false;          // "Picture 1: ", "Video 1: " before each medium
  // A line end between a medium and what follows it in its turn, unless that is a text that begins with one. LLaVA's
  // data ("<image>\nquestion") and so every model trained on it has it; Qwen2.5-VL's template has it not.
  bool line_after_picture = false;
};

// The same text as the chat template that is written beside a model with the same line_after_picture; without it,
// Qwen2.5-VL's.
std::string render_chat(std::span<const Message> messages, ChatOptions options = {});

// The ids that the format is made of. Throws input_error when the tokenizer lacks one.
struct ChatTokens {
  std::int64_t im_start, im_end, vision_start, vision_end, image_pad, video_pad;
  static ChatTokens of(const Tokenizer& tokenizer);
};

// Each `pad` becomes as many as the next entry of `counts` says. Throws input_error when there are more or fewer
// pads than counts, or a count below 1.
std::vector<std::int64_t> expand_pads(std::span<const std::int64_t> ids, std::int64_t pad,
                                      std::span<const std::int64_t> counts);

// What a model is asked to continue: the rendered chat, encoded, with image_tokens[i] pads for the i-th picture.
std::vector<std::int64_t> encode_chat(const Tokenizer& tokenizer, std::span<const Message> messages,
                                      std::span<const std::int64_t> image_tokens, ChatOptions options = {});

}  // namespace ov
