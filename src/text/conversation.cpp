#include "text/conversation.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "text/chat.h"

namespace ov {
namespace {

constexpr std::size_t tag_size = std::char_traits<char>::length(image_tag);

struct Dialogue {
  const Turn* system;            // null when there is none
  std::span<const Turn> rounds;  // question and answer in turn
  const std::string& system_text() const {
    static const std::string otherwise = default_system_prompt;
    return system ? system->text : otherwise;
  }
};

// An answer before the first question answers nothing: it is left out, as LLaVA does.
Dialogue checked(std::span<const Turn> turns) {
  Dialogue d{nullptr, turns};
  if (!turns.empty() && turns[0].role == "system") d = {&turns[0], turns.subspan(1)};
  if (d.rounds.size() > 1 && d.rounds[0].role == "assistant") d.rounds = d.rounds.subspan(1);
  const std::size_t first = turns.size() - d.rounds.size();
  for (std::size_t i = first; i < turns.size(); ++i) {
    const char* expected = (i - first) % 2 == 0 ? "user" : "assistant";
    if (turns[i].role != expected)
      input_error("message ", i + 1, " of ", turns.size(), ": expected role ", expected, ", found '", turns[i].role,
                  "'");
  }
  if (d.rounds.empty()) input_error("the conversation has no question and no answer");
  if (d.rounds.size() % 2 != 0) input_error("the last of ", turns.size(), " messages is a question without answer");
  return d;
}

// What the first question shares with all others: its text up to its last picture, "" without one, and the line end
// right behind that picture, "" when there is none.
struct SharedText {
  std::string text, line_end;
};

SharedText shared_text(std::span<const Turn> turns, const Dialogue& d) {
  for (std::size_t i = 2; i < d.rounds.size(); i += 2)
    if (d.rounds[i].text.find(image_tag) != std::string::npos)
      input_error("message ", turns.size() - d.rounds.size() + i + 1,
                  " brings a picture of its own, so its turn cannot share the first turn's");
  const std::string& opening = d.rounds[0].text;
  const std::size_t tag = opening.rfind(image_tag);
  if (tag == opening.npos) return {};
  return {opening.substr(0, tag + tag_size), opening.substr(tag + tag_size, 1) == "\n" ? "\n" : ""};
}

void check_tags(std::size_t tags, std::size_t pictures) {
  if (tags != pictures)
    input_error("the questions hold ", tags, " <image> tag(s), but ", pictures, " picture(s) were given");
}

// Puts a sample together piece by piece. A piece ends at a token of the format, so encoding pieces gives the ids of
// the whole text; ids and labels cannot come apart, because a label is only ever the id just appended.
class Builder {
 public:
  Builder(const Tokenizer& tokenizer, std::span<const std::int64_t> image_tokens, ConversationOptions options)
      : tokenizer_(tokenizer), tokens_(ChatTokens::of(tokenizer)), image_tokens_(image_tokens), options_(options) {}

  // The system turn, and the line end that belongs to its block.
  void system(const std::string& text) {
    start();
    plain("system\n" + text, false);
    append(tokens_.im_end, false);
    line_end();
  }

  void start() { append(tokens_.im_start, false); }

  // Text of a question, pictures in place of its tags.
  void question(std::string_view text) {
    for (std::size_t at; (at = text.find(image_tag)) != text.npos; text.remove_prefix(at + tag_size)) {
      plain(text.substr(0, at), false);
      picture();
    }
    plain(text, false);
  }

  // What comes behind a question's text.
  void answer(const std::string& text) {
    append(tokens_.im_end, false);
    line_end();
    start();
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
    out_.labels.push_back(learnt ? id : ignored_label);
  }

  void plain(std::string_view text, bool learnt) {
    for (const std::int64_t id : tokenizer_.encode(text, options_.literal_tokens == LiteralTokens::as_tokens))
      append(id, learnt);
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

Encoded encode_conversation(const Tokenizer& tokenizer, std::span<const Turn> turns,
                            std::span<const std::int64_t> image_tokens, ConversationOptions options) {
  const Dialogue d = checked(turns);
  std::size_t tags = 0;
  for (std::size_t i = 0; i < d.rounds.size(); i += 2) tags += count(d.rounds[i].text, image_tag);
  check_tags(tags, image_tokens.size());

  Builder b(tokenizer, image_tokens, options);
  b.system(d.system_text());
  for (std::size_t i = 0; i < d.rounds.size(); i += 2) {
    if (i > 0) b.line_end();
    b.start();
    b.question("user\n" + d.rounds[i].text);
    b.answer(d.rounds[i + 1].text);
  }
  return b.finish();
}

std::vector<std::vector<Turn>> single_turns(std::span<const Turn> turns) {
  const Dialogue d = checked(turns);
  const SharedText shared = shared_text(turns, d);
  std::vector<std::vector<Turn>> singles;
  for (std::size_t i = 0; i < d.rounds.size(); i += 2) {
    std::vector<Turn> single;
    if (d.system) single.push_back(*d.system);
    single.push_back({"user", i > 0 ? shared.text + shared.line_end + d.rounds[i].text : d.rounds[i].text});
    single.push_back(d.rounds[i + 1]);
    singles.push_back(std::move(single));
  }
  return singles;
}

Branched encode_branches(const Tokenizer& tokenizer, std::span<const Turn> turns,
                         std::span<const std::int64_t> image_tokens, ConversationOptions options) {
  const Dialogue d = checked(turns);
  const SharedText shared = shared_text(turns, d);
  const std::string& opening = d.rounds[0].text;
  check_tags(count(opening, image_tag), image_tokens.size());

  Branched out;
  Builder prefix(tokenizer, image_tokens, options);
  prefix.system(d.system_text());
  prefix.start();
  if (!shared.text.empty()) prefix.question("user\n" + shared.text);
  out.prefix = prefix.finish().ids;
  for (std::size_t i = 0; i < d.rounds.size(); i += 2) {
    Builder b(tokenizer, {}, options);
    // A piece of text ends at a token of the format alone, so a line end that is shared is encoded with what follows.
    const std::string rest = i > 0 ? shared.line_end + d.rounds[i].text : opening.substr(shared.text.size());
    b.question(shared.text.empty() ? "user\n" + rest : rest);
    b.answer(d.rounds[i + 1].text);
    out.branches.push_back(b.finish());
  }
  return out;
}

}  // namespace ov
