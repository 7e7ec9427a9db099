#include "data/raw/conversations.h"

#include <doctest/doctest.h>

#include "data/reject.h"
#include "tests/data/loader_fixture.h"

namespace ov::loader_test {
namespace {

// The one record of a file that holds `text` as an array.
Conversation only(const DataSet& d, const std::string& record) {
  return ConversationFile(d.write("one.json", "[" + record + "]")).read(0);
}

std::string complaint(const DataSet& d, const std::string& record) {
  return message_of([&] { only(d, record); });
}

}  // namespace

TEST_CASE("conversation file: array and JSON lines, both spellings and their mixture give the same conversation") {
  const DataSet d;
  const std::vector<std::string> spellings = {
      R"({"id": "a", "image": "x.png", )"
      R"("conversations": [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "r"}]})",
      R"({"id": "a", "images": ["x.png"], )"
      R"("messages": [{"role": "user", "content": "<image>\nq"}, {"role": "assistant", "content": "r"}]})",
      R"({"id": "a", "image": ["x.png"], )"
      R"("conversations": [{"role": "user", "content": "<image>\nq", "markdown": 1}, )"
      R"({"from": "gpt", "content": "r"}]})",
      R"({"id": "a", "images": "x.png", "image": null, )"
      R"("messages": [{"role": "human", "value": "<image>\nq"}, {"from": "assistant", "value": "r"}]})"};
  const std::string array = d.write("a.json", " \n[" + spellings[0] + ",\n" + spellings[1] + ",\n" + spellings[2] +
                                                  ", // said twice\n" + spellings[3] + "]");
  const std::string lines = d.write(
      "a.jsonl", "\xEF\xBB\xBF" + spellings[0] + "\n\n" + spellings[1] + "\r\n" + spellings[2] + "\n" + spellings[3]);
  for (const std::string& path : {array, lines}) {
    const ConversationFile file(path);
    REQUIRE(file.size() == 4);
    for (std::int64_t i = 0; i < 4; ++i) {
      const Conversation c = file.read(i);
      CHECK(c.images == std::vector<std::string>{d.path("x.png")});
      REQUIRE(c.turns.size() == 2);
      CHECK(c.turns[0].role == "user");
      CHECK(c.turns[0].text == "<image>\nq");
      CHECK(c.turns[1].role == "assistant");
      CHECK(c.turns[1].text == "r");
    }
  }
  CHECK(ConversationFile(array).read(3).where == array + ": record 4 (id \"a\")");
  CHECK(ConversationFile(lines).read(2).where == lines + ":4 (id \"a\")");  // the empty line is counted as a line
}

TEST_CASE("conversation file: pictures are found beside the file, in image_dir, or where an absolute path says") {
  const DataSet d;
  const std::string path = d.json({record("1", "sub/a.png", {"q", "a"}), record("2", "/abs/b.png", {"q", "a"})});
  CHECK(ConversationFile(path).read(0).images[0] == d.path("sub/a.png"));
  CHECK(ConversationFile(path, "/pictures").read(0).images[0] == "/pictures/sub/a.png");
  CHECK(ConversationFile(path, "/pictures").read(1).images[0] == "/abs/b.png");
}

TEST_CASE("conversation file: text alone is a record without pictures, however its image key says so") {
  const DataSet d;
  for (const char* image : {"", R"("image": null,)", R"("image": "",)", R"("images": [],)", R"("video": null,)"}) {
    const Conversation c =
        only(d, std::string("{") + image + R"("conversations": [{"from": "system", "value": "s"}]})");
    CHECK(c.images.empty());
    REQUIRE(c.turns.size() == 1);
    CHECK(c.turns[0].role == "system");
  }
}

TEST_CASE("conversation file: a malformed record is one reject, with its line and column, in an array and in lines") {
  const DataSet d;
  const std::string good = record("1", Json(), {"q", "a"}).dump();
  const ConversationFile array(d.write("bad.json", "[" + good + ",\n {\"id\": 7,, }]"));
  REQUIRE(array.size() == 2);
  CHECK(array.read(0).turns.size() == 2);
  CHECK(contains(message_of([&] { array.read(1); }),
                 "malformed_record | " + d.path("bad.json") + ":2:11: malformed JSON"));

  const std::string lines = d.write("bad.jsonl", good + "\n{\"id\": 7,, }\n" + good + "\n[1]\n");
  const ConversationFile file(lines);
  REQUIRE(file.size() == 4);
  CHECK(file.read(0).turns.size() == 2);
  CHECK(contains(message_of([&] { file.read(1); }), "malformed_record | " + lines + ":2:10: malformed JSON"));
  CHECK(file.read(2).turns.size() == 2);
  CHECK(message_of([&] { file.read(3); }) == "malformed_record | " + lines + ":4: expected an object, found an array");
}

TEST_CASE("conversation file: a file that is missing or without records is refused") {
  const DataSet d;
  CHECK(contains(message_of([&] { ConversationFile{d.path("none.json")}; }), d.path("none.json")));
  for (const char* text : {"", "\n \n", "[]", "[ // nothing\n]"})
    CHECK(contains(message_of([&] { ConversationFile{d.write("e.json", text)}; }), "e.json: no records"));
}

TEST_CASE("conversation file: a question and its answer, as evaluations have them, are one question") {
  const DataSet d;
  const auto turns = [&](const char* record) {
    std::string all;
    for (const Turn& t : ConversationFile(d.write("q.json", record)).read(0).turns)
      all += t.role + ": " + t.text + "\n";
    return all;
  };
  CHECK(turns(R"({"image": "a.png", "question": "what?", "answer": "a ring"})") ==
        "user: <image>\nwhat?\nassistant: a ring\n");
  CHECK(turns(R"({"question": "which?", "answer": ["A", "B"]})") == "user: which?\nassistant: [\"A\",\"B\"]\n");
  CHECK(turns(R"({"question": "which?", "answer": null})") == "user: which?\n");  // nothing to learn
  CHECK(turns(R"({"question": "q", "caption": "c", "image": "a.png"})") == "user: <image>\nassistant: c\n");
}

TEST_CASE("conversation file: each way a record can be malformed is named with its place") {
  const DataSet d;
  const std::string where = "malformed_record | " + d.path("one.json") + ": record 1";
  CHECK(complaint(d, "17") == where + ": expected an object, found an integer");
  CHECK(complaint(d, R"({"id": 5})") == where + " (id 5): has neither \"conversations\" nor \"messages\"");
  CHECK(complaint(d, R"({"conversations": "hm"})") ==
        where + ": conversations: expected a list of messages, found a string");
  CHECK(complaint(d, R"({"conversations": [{"from": "human", "value": "q"}, 3]})") ==
        where + ": message 2: expected an object, found an integer");
  CHECK(contains(complaint(d, R"({"conversations": [{"from": "robot", "value": "q"}]})"),
                 where + ": message 1: expected from human, gpt or system"));
  CHECK(complaint(d, R"({"conversations": [{"value": "q"}]})") ==
        where + ": message 1: has neither \"from\" nor \"role\"");
  CHECK(complaint(d, R"({"conversations": [{"from": "human"}]})") ==
        where + ": message 1: has neither \"value\" nor \"content\"");
  CHECK(contains(complaint(d, R"({"messages": [{"role": "user", "content": [1]}]})"),
                 "expected a string, found an array"));
  CHECK(contains(complaint(d, R"({"image": {"path": "x"}, "messages": []})"),
                 "image: expected a path or a list of paths"));
  CHECK(contains(complaint(d, R"({"image": ["a", 2], "messages": []})"), "image: expected a path"));
  CHECK(contains(complaint(d, R"({"image": "a", "images": ["b"], "messages": []})"),
                 "has both \"image\" and \"images\""));
  CHECK(contains(complaint(d, R"({"video": "v.mp4", "messages": []})"), "has a \"video\"; only pictures are read"));
}

}  // namespace ov::loader_test
