#include "text/conversation.h"

#include <algorithm>

#include "base/error.h"
#include "text/chat.h"

namespace ov {
namespace {

constexpr std::size_t tag_size = std::char_traits<char>::length(image_tag);

// system (may be absent), then user and assistant in turn, an assistant last. A first turn of the assistant answers
// nothing: it is left out, as LLaVA does.
std::span<const Turn> checked(std::span<const Turn> turns) {
  if (turns.size() > 1 && turns[0].role == "assistant") turns = turns.subspan(1);
  const std::size_t first = !turns.empty() && turns[0].role == "system" ? 1 : 0;
  for (std::size_t i = first; i < turns.size(); ++i) {
    const char* expected = (i - first) % 2 == 0 ? "user" : "assistant";
    if (turns[i].role != expected)
      input_error("message ", i + 1, " of ", turns.size(), ": expected role ", expected, ", found '", turns[i].role,
                  "'");
  }
  if (turns.size() == first) input_error("the conversation has no question and no answer");
  if ((turns.size() - first) % 2 != 0)
    input_error("the last of ", turns.size(), " messages is a question without answer");
  return turns;
}

std::size_t count_tags(std::string_view text) {
  std::size_t n = 0;
  for (std::size_t at = text.find(image_tag); at != text.npos; at = text.find(image_tag, at + tag_size)) ++n;
  return n;
}

// Puts a sample together piece by piece. A piece ends at a token of the format, so encoding pieces gives the ids of
// the whole text; ids and labels cannot come apart, because a label is only ever the id just appended.
class Builder {
 public:
  Builder(const Tokenizer& tokenizer, std::span<const std::int64_t> image_tokens, ConversationOptions options)
      : tokenizer_(tokenizer), tokens_(ChatTokens::of(tokenizer)), image_tokens_(image_tokens), options_(options) {}

  void turn_open(const std::string& role, const std::string& text, bool replace_tags) {
    append(tokens_.im_start, false);
    pieces(role + "\n" + text, replace_tags);
    append(tokens_.im_end, false);
  }

  void answer(const std::string& text) {
    plain("\n", false);
    append(tokens_.im_start, false);
    plain("assistant\n", false);
    plain(text, true);
    append(tokens_.im_end, true);
  }

  void line_end() { plain("\n", false); }

  Encoded finish() {
    const auto pads = std::count(out_.ids.begin(), out_.ids.end(), tokens_.image_pad);
    if (pads != pads_) input_error("the text spells out <|image_pad|> ", pads - pads_, " time(s)");
    return std::move(out_);
  }

 private:
  void append(std::int64_t id, bool learnt) {
    out_.ids.push_back(id);
    out_.labels.push_back(learnt ? id : ignore_label);
  }

  void plain(std::string_view text, bool learnt) {
    for (const std::int64_t id : tokenizer_.encode(text, options_.literal_tokens == LiteralTokens::as_tokens))
      append(id, learnt);
  }

  void pieces(std::string_view text, bool replace_tags) {
    for (std::size_t at; replace_tags && (at = text.find(image_tag)) != text.npos; text.remove_prefix(at + tag_size)) {
      plain(text.substr(0, at), false);
      picture();
    }
    plain(text, false);
  }

  void picture() {
    const std::int64_t n = image_tokens_[next_picture_++];
    if (n < 1) input_error("picture ", next_picture_, " has ", n, " tokens, expected at least 1");
    append(tokens_.vision_start, false);
    for (std::int64_t i = 0; i < n; ++i) append(tokens_.image_pad, false);
    append(tokens_.vision_end, false);
    pads_ += n;
  }

  const Tokenizer& tokenizer_;
  const ChatTokens tokens_;
  const std::span<const std::int64_t> image_tokens_;
  const ConversationOptions options_;
  std::size_t next_picture_ = 0;
  std::int64_t pads_ = 0;
  Encoded out_;
};

}  // namespace

Encoded encode_conversation(const Tokenizer& tokenizer, std::span<const Turn> said,
                            std::span<const std::int64_t> image_tokens, ConversationOptions options) {
  const std::span<const Turn> turns = checked(said);
  std::size_t tags = 0;
  for (const Turn& t : turns)
    if (t.role == "user") tags += count_tags(t.text);
  if (tags != image_tokens.size())
    input_error("the questions hold ", tags, " <image> tag(s), but ", image_tokens.size(), " picture(s) were given");

  Builder b(tokenizer, image_tokens, options);
  const bool own_system = turns[0].role == "system";
  b.turn_open("system", own_system ? turns[0].text : default_system_prompt, false);
  for (std::size_t i = own_system; i < turns.size(); i += 2) {
    b.line_end();  // after the system turn it belongs to its block, later it separates the turns
    b.turn_open("user", turns[i].text, true);
    b.answer(turns[i + 1].text);
  }
  return b.finish();
}

std::vector<std::vector<Turn>> single_turns(std::span<const Turn> said) {
  const std::span<const Turn> turns = checked(said);
  const bool own_system = turns[0].role == "system";
  const std::string& opening = turns[own_system].text;
  std::size_t shared = opening.rfind(image_tag);  // how much of the first question every branch repeats
  shared = shared == opening.npos ? 0 : shared + tag_size;
  if (shared > 0 && shared < opening.size() && opening[shared] == '\n') ++shared;

  std::vector<std::vector<Turn>> singles;
  for (std::size_t i = own_system; i < turns.size(); i += 2) {
    std::vector<Turn> single;
    if (own_system) single.push_back(turns[0]);
    std::string question = turns[i].text;
    if (i > own_system) {
      if (count_tags(question) > 0)
        input_error("message ", i + 1, " brings a picture of its own, so its turn cannot share the first turn's");
      question = opening.substr(0, shared) + question;
    }
    single.push_back({"user", std::move(question)});
    single.push_back(turns[i + 1]);
    singles.push_back(std::move(single));
  }
  return singles;
}

Branched encode_branches(const Tokenizer& tokenizer, std::span<const Turn> turns,
                         std::span<const std::int64_t> image_tokens, ConversationOptions options) {
  Branched out;
  const ChatTokens tokens = ChatTokens::of(tokenizer);
  for (const auto& single : single_turns(turns)) {
    Encoded e = encode_conversation(tokenizer, single, image_tokens, options);
    if (out.branches.empty()) {
      // The last picture's end where there are pictures; else the user turn's start, after the system block.
      const std::int64_t border = image_tokens.empty() ? tokens.im_start : tokens.vision_end;
      std::size_t pads = 0, size = 0;
      std::int64_t expected = 0;
      for (const std::int64_t n : image_tokens) expected += n;
      for (; size < e.ids.size(); ++size) {
        pads += e.ids[size] == tokens.image_pad;
        if (e.ids[size] == border && size > 0 && static_cast<std::int64_t>(pads) == expected) break;
      }
      out.prefix.assign(e.ids.begin(), e.ids.begin() + static_cast<std::ptrdiff_t>(size) + 1);
    }
    const auto n = static_cast<std::ptrdiff_t>(out.prefix.size());
    e.ids.erase(e.ids.begin(), e.ids.begin() + n);
    e.labels.erase(e.labels.begin(), e.labels.begin() + n);
    out.branches.push_back(std::move(e));
  }
  return out;
}

}  // namespace ov
