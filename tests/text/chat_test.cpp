#include "text/chat.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/io/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "tests/check.h"
#include "text/chat_template.h"
#include "text/conversation.h"

using namespace ov;
using namespace ov::test;
using Ids = std::vector<std::int64_t>;

namespace {

std::vector<Message> messages_of(const Json& list) {
  std::vector<Message> messages;
  for (const Json& m : list.items()) {
    Message message{m.at("role").as_string(), {}};
    if (m.at("content").is_string()) {
      message.content.push_back({Content::Kind::text, m.at("content").as_string()});
    } else {
      for (const Json& c : m.at("content").items()) {
        const std::string& type = c.at("type").as_string();
        if (type == "text") message.content.push_back({Content::Kind::text, c.at("text").as_string()});
        else message.content.push_back({type.starts_with("image") ? Content::Kind::image : Content::Kind::video, ""});
      }
    }
    messages.push_back(std::move(message));
  }
  return messages;
}

std::string message_of_expand(const Ids& ids, const Ids& counts) {
  return thrown([&] { expand_pads(ids, 9, counts); });
}

}  // namespace

TEST_CASE("chats: rendered text and ids equal the reference's (M-34, M-35)") {
  const Tokenizer t = Tokenizer::read("tests/golden/tokenizer");
  const Json cases = Json::read("tests/golden/tokenizer/chat_cases.json");
  REQUIRE(cases.size() > 0);
  for (const Json& c : cases.items()) {
    const auto messages = messages_of(c.at("messages"));
    const ChatOptions options{c.at("add_generation_prompt").as_bool(), c.at("add_vision_id").as_bool()};
    const std::string text = render_chat(messages, options);
    CHECK(text == c.at("text").as_string());
    Ids expected;
    for (const Json& id : c.at("ids").items()) expected.push_back(id.as_int());
    CHECK(t.encode(text) == expected);
  }
}

TEST_CASE("chats with a line end after pictures: the text that Jinja makes of the template, which is the one written") {
  const Json golden = Json::read("tests/golden/chat/cases.json");
  CHECK(sha256(chat_template(true)) == golden.at("template_sha256").at("line_after_picture").as_string());
  CHECK(sha256(chat_template(false)) == golden.at("template_sha256").at("qwen").as_string());
  CHECK(read_file("data/tokenizer/chat_template.jinja") == chat_template(true));
  REQUIRE(golden.at("cases").size() > 0);
  for (const Json& c : golden.at("cases").items())
    CHECK(render_chat(messages_of(c.at("messages")),
                      {.add_generation_prompt = true, .line_after_picture = c.at("line_after_picture").as_bool()}) ==
          c.at("text").as_string());
}

TEST_CASE("a conversation of several turns, a system turn and two pictures is the same ids in training and in chat") {
  const Tokenizer t = Tokenizer::read("tests/golden/tokenizer");
  const Content picture = {Content::Kind::image, ""};
  const auto text = [](const char* s) { return Content{Content::Kind::text, s}; };
  const std::vector<Message> chat = {{"system", {text("Short.")}},
                                     {"user", {picture, picture, text("Which?")}},
                                     {"assistant", {text("The first.")}},
                                     {"user", {text("Sure?")}}};
  const std::vector<Turn> turns = {{"system", "Short."},
                                   {"user", "<image>\n<image>\nWhich?"},
                                   {"assistant", "The first."},
                                   {"user", "Sure?"},
                                   {"assistant", "Y"}};
  const Ids image_tokens = {2, 3};
  const Encoded e = encode_conversation(t, turns, image_tokens);
  const Ids prompt = encode_chat(t, chat, image_tokens, {.add_generation_prompt = true, .line_after_picture = true});
  REQUIRE(prompt.size() < e.ids.size());
  CHECK(Ids(e.ids.begin(), e.ids.begin() + static_cast<std::ptrdiff_t>(prompt.size())) == prompt);
  CHECK(e.labels[prompt.size() - 1] == ignored_label);
  CHECK(e.labels[prompt.size()] != ignored_label);
}

TEST_CASE("no messages give no system turn, and a system turn of one's own replaces the default") {
  CHECK(render_chat({}) == "");
  CHECK(render_chat({}, {.add_generation_prompt = true}) == "<|im_start|>assistant\n");
  const std::vector<Message> own = {{"system", {{Content::Kind::text, "X"}}}};
  CHECK(render_chat(own) == "<|im_start|>system\nX<|im_end|>\n");
}

TEST_CASE("one picture of four tokens: the prompt's ids in the real vocabulary") {
  const Tokenizer t = Tokenizer::from_merges("tests/golden/qwen_vocab/merges.txt", qwen2_added_tokens(151643));
  const std::vector<Message> messages = {
      {"user", {{Content::Kind::image, ""}, {Content::Kind::text, "Describe this image."}}}};
  const Ids image_tokens = {4};
  CHECK(encode_chat(t, messages, image_tokens, {.add_generation_prompt = true}) ==
        Ids{151644, 8948,   198,    2610,   525,    264,   10950, 17847, 13, 151645, 198, 151644, 872,   198, 151652,
            151655, 151655, 151655, 151655, 151653, 74785, 419,   2168,  13, 151645, 198, 151644, 77091, 198});
}

TEST_CASE("each pad becomes as many as its picture has tokens; a wrong number of pictures is refused") {
  CHECK(expand_pads(Ids{1, 9, 2, 9}, 9, Ids{1, 3}) == Ids{1, 9, 2, 9, 9, 9});
  CHECK(message_of_expand({1, 9}, {1, 1}) == "the text holds 1 picture placeholder(s), but 2 picture(s) were given");
  CHECK(message_of_expand({9, 9}, {1}) == "the text holds 2 picture placeholder(s), but 1 picture(s) were given");
  CHECK(message_of_expand({9}, {0}) == "picture 1 has 0 tokens, expected at least 1");
}

TEST_CASE("a tokenizer without the format's tokens cannot chat, and the first missing one is named") {
  const Tokenizer t = Tokenizer::from_merges("tests/golden/tokenizer/merges.txt");
  CHECK_THROWS_WITH_AS(ChatTokens::of(t), "the tokenizer has no token '<|im_start|>', which the chat format needs",
                       Error);
}
