// Texts that are empty and samples of which nothing would be learnt, in every layout that data comes in: what is a
// fault is counted under its reason, what is none (a caption has no question) is a sample.
#include <doctest/doctest.h>

#include "data/raw/text_corpus.h"
#include "tests/data/pack_fixture.h"
#include "text/chat.h"

namespace ov::loader_test {
namespace {

// "" when the record is a sample with labels, else "reason | message".
std::string of_record(const Json& r, TurnLayout turns) {
  const DataSet d;
  d.png("a.png", 28, 28, 1);
  return message_of([&] {
    const Sample s = make_sample(ConversationFile(d.json({r})).read(0), small_processor(), {.turns = turns});
    CHECK(count_labels(packed_micro_batch(std::vector{s})) > 0);
  });
}

std::string of_both(const Json& r) {
  const std::string one = of_record(r, TurnLayout::conversation), other = of_record(r, TurnLayout::shared_prefix);
  CHECK(one.substr(0, one.find(" | ")) == other.substr(0, other.find(" | ")));
  return one;
}

// Of the only sample of a shard.
std::string of_parts(const std::vector<std::pair<std::string, std::string>>& parts) {
  const DataSet d;
  TarWriter tar(d.path("w.tar"));
  tar.add("s.img0.png", read_file(d.png("a.png", 28, 28, 1)));
  for (const auto& [name, bytes] : parts) tar.add(name, bytes);
  tar.finish();
  LoaderOptions o;
  o.json = d.path("w.tar");
  o.max_rejects = 0;
  return message_of([&] { Loader(o, small_processor()).next(); });
}

std::string of_line(const std::string& line, TextCorpusOptions o = {}) {
  const DataSet d;
  o.files = {d.write("c.jsonl", line)};
  return message_of([&] {
    const Sample s = TextCorpus(o, Tokenizer::read("data/tokenizer")).sample(0);
    CHECK(count_labels(packed_micro_batch(std::vector{s})) > 0);
  });
}

}  // namespace

TEST_CASE("empty texts of a conversation: an empty answer is a fault of its own, an empty question is none") {
  CHECK(of_both(record("r", "a.png", {"<image>", "a"})) == "");
  CHECK(of_both(record("r", Json(), {"", "a"})) == "");
  CHECK(of_both(record("r", "a.png", {"<image>q", "a", "", "b"})) == "");
  for (const char* empty : {"", " ", "\n \t"}) {
    CHECK(contains(of_both(record("r", "a.png", {"<image>q", empty})), "no_answer | "));
    CHECK(contains(of_both(record("r", "a.png", {"<image>q", "a", "q", empty})), "message 4: the answer is empty"));
  }
}

TEST_CASE("an empty question is an empty user turn, and the answer alone is learnt") {
  const DataSet d;
  const Processor p = small_processor();
  const Sample s = make_sample(ConversationFile(d.json({record("r", Json(), {"", "a"})})).read(0), p, {});
  CHECK(s.ids == p.tokenizer().encode("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
                                      "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\na<|im_end|>"));
  std::vector<std::int64_t> learnt;
  for (const std::int64_t l : s.labels)
    if (l != ignored_label) learnt.push_back(l);
  CHECK(p.tokenizer().decode(learnt, false) == "a<|im_end|>");
}

TEST_CASE("a record of which nothing would be learnt is counted, whichever part of it is missing") {
  const auto with_turns = [](const Json& turns) {
    Json r = Json::object({{"id", "r"}});
    r.set("conversations", turns);
    return r;
  };
  Json system = Json::array();
  system.push(turn("system", "be brief"));
  for (const Json& turns : {Json::array(), system, conversation({"q"})})
    CHECK(contains(of_both(with_turns(turns)), "malformed_record | "));
  CHECK(contains(of_both(record("r", "a.png", {"<image>q", "a", "q"})), "question without answer"));
  CHECK(contains(of_both(with_turns(Json())), "malformed_record | "));
}

TEST_CASE(
    "empty captions and samples without an answer in a shard are counted under their reason, with shard and key") {
  const auto fault = [](const char* reason, int n = 1) {
    return cat(" rejected, more than data.max_rejects 0 (", reason, " ", n, ")");
  };
  CHECK(of_parts({{"s.txt", "a ring"}}) == "");  // the twin of all below
  for (const std::string& bad :
       {of_parts({{"s.txt", ""}}), of_parts({{"s.txt", " \n"}}), of_parts({{"s.json", R"({"caption": ""})"}}),
        of_parts({{"s.json", R"({"prompts": ["<image>"], "captions": [""]})"}}),
        of_parts({{"s.json", R"([{"role": "user", "content": "<image>"}, {"role": "assistant", "content": ""}])"}})}) {
    CHECK_MESSAGE(contains(bad, fault("no_answer")), bad);
    CHECK_MESSAGE(contains(bad, "w.tar: sample 's'"), bad);
  }
  for (const std::string& bad :
       {of_parts({{"s.json", R"([{"role": "user", "content": "<image>q"}])"}}),
        of_parts({{"s.json", R"({"texts": [{"role": "user", "content": "q"}], "media": "text"})"}}), of_parts({})}) {
    CHECK_MESSAGE(contains(bad, fault("malformed_record")), bad);
    CHECK_MESSAGE(contains(bad, "w.tar: sample 's'"), bad);
  }
  const std::string no_turn = of_parts({{"s.json", "[]"}});  // a picture that nothing asks about
  CHECK_MESSAGE(contains(no_turn, fault("image_count")), no_turn);
}

TEST_CASE("empty documents of a text corpus are counted, in the chat layout and as plain documents") {
  CHECK(of_line(R"({"text": "a"})") == "");  // the twin of all below
  CHECK(of_line(R"({"prefix": "", "turns": [{"question": "", "answer": "a"}]})") == "");
  for (const char* empty :
       {R"({"text": ""})", R"({"text": "\n"})", R"({"text": "", "turns": []})", R"({"turns": null})"})
    for (const bool plain : {false, true}) {
      const std::string error = of_line(empty, {.plain = plain});
      CHECK_MESSAGE(contains(error, "empty_text | "), error);
      CHECK_MESSAGE(contains(error, "c.jsonl:1: "), error);
    }
  const char* no_answer =
      R"({"prefix": "x", "turns": [{"question": "q", "answer": "a"}, {"question": "q", "answer": ""}]})";
  CHECK(contains(of_line(no_answer), "no_answer | "));
  CHECK(contains(of_line(no_answer), "c.jsonl:1: turn 2: the answer is empty"));
}

}  // namespace ov::loader_test
