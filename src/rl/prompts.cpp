// What a model is asked: the text of a record with its pictures, as ids and patches (rl/records.h).
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "image/decode.h"
#include "rl/records.h"

namespace ov::rl {
namespace {

Image at_most_512(Image image) {
  const auto area = static_cast<double>(image.width * image.height);
  if (area <= 512.0 * 512.0) return image;
  const double factor = std::sqrt(512.0 * 512.0 / area);
  const auto side = [&](std::int64_t n) { return std::max<std::int64_t>(1, static_cast<std::int64_t>(n * factor)); };
  return resize_bicubic(image, side(image.width), side(image.height));
}

}  // namespace

std::int64_t tags_in(const std::string& text) {
  std::int64_t n = 0;
  for (std::size_t at = 0; (at = text.find(image_tag, at)) != text.npos; ++n) at += std::string_view(image_tag).size();
  return n;
}

std::string user_text(const Record& r, PromptStyle style) {
  if (style == PromptStyle::plain) return r.problem;
  std::string text =
      r.prompt_type == "normal"
          ? "Put ONLY your final answer within <answer></answer>."
          : "Think and solve the following question step by step. Please put your thinking and analysis procedure "
            "within <think></think>. Put ONLY your final answer within <answer></answer>.";
  if (r.format_guidance) text += " " + *r.format_guidance + "\n";
  if (r.problem_type == "spatial-reasoning")
    text += " Please first generate the coordinates (x, y, x, y) of each relevant object mentioned in the problem.";
  return text + "\n" + r.problem;
}

std::vector<std::int64_t> add_pictures(Prompt& prompt, std::vector<Image> pictures, const ProcessorConfig& config,
                                       const std::string& where, bool small) {
  std::vector<Tensor> pixels;
  std::vector<std::int64_t> tokens;
  for (Image& image : pictures) {
    const Patches p = named_patches(small ? at_most_512(std::move(image)) : image, config, where);
    pixels.push_back(p.pixel_values);
    prompt.grids.push_back(p.grid);
    tokens.push_back(p.pixel_values.dim(0) / (config.merge * config.merge));
  }
  prompt.pixel_values = join_rows(pixels);
  return tokens;
}

std::vector<Content> contents_of(const std::string& text) {
  std::vector<Content> parts;
  std::size_t from = 0;
  for (std::size_t at; (at = text.find(image_tag, from)) != text.npos;) {
    if (at > from) parts.push_back({Content::Kind::text, text.substr(from, at - from)});
    parts.push_back({Content::Kind::image, ""});
    from = at + std::string_view(image_tag).size();
  }
  parts.push_back({Content::Kind::text, text.substr(from)});
  return parts;
}

Prompt make_prompt(const Record& r, std::vector<Image> pictures, const Processor& processor, PromptStyle style,
                   const PixelLimits& limits) {
  Prompt out;
  const std::vector<std::int64_t> image_tokens =
      add_pictures(out, std::move(pictures), processor.with_limits(limits).images(), r.where, true);
  std::vector<Content> parts = contents_of(user_text(r, style));
  std::vector<Message> messages;
  if (style == PromptStyle::released) messages.push_back({"system", {{Content::Kind::text, system_text}}});
  messages.push_back({"user", std::move(parts)});
  try {
    out.input_ids = encode_chat(processor.tokenizer(), messages, image_tokens, {.add_generation_prompt = true});
  } catch (const Error& e) { throw Error(e.exit(), cat(r.where, ": ", e.what())); }
  return out;
}

}  // namespace ov::rl
