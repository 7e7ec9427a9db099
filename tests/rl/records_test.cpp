// Records of RL: a directory of Parquet files; what somebody wrote by hand, or is of another file.
#include "rl/records.h"

#include <filesystem>

#include "base/io/file.h"
#include "image/decode.h"
#include "rl/select_run.h"
#include "store/jsonl.h"
#include "store/parquet/writer.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/rl/policy_world.h"

namespace ov::test {

using namespace rl;

TEST_CASE("rl: a directory of Parquet files is one set of records, with the pictures of each file") {
  const ScratchDirectory dir;
  std::filesystem::create_directories(dir / "stage/b");
  std::filesystem::create_directories(dir / "stage/a");
  std::filesystem::copy_file("tests/golden/rl/records.parquet", dir / "stage/b/1.parquet");
  const RecordFile one("tests/golden/rl/records.parquet", "");
  const RecordFile in_directory(dir / "stage", "");
  REQUIRE(in_directory.records().size() == one.records().size());
  CHECK(in_directory.fingerprint() == one.fingerprint());
  const auto& records = one.records();
  std::filesystem::copy_file("tests/golden/rl/records.parquet", dir / "stage/a/2.parquet");
  CHECK(test::contains(thrown([&] { RecordFile(dir / "stage", ""); }, Exit::wrong_input),
                       cat("the id '", records[0].id, "' stands twice")));
  std::filesystem::remove(dir / "stage/a/2.parquet");
  for (std::size_t i = 0; i < records.size(); ++i) {
    CHECK(in_directory.records()[i].where == cat(dir / "stage/b/1.parquet", ": row ", i + 1));
    CHECK(in_directory.pictures(in_directory.records()[i]) == one.pictures(records[i]));
  }
  CHECK(test::contains(thrown([&] { RecordFile(dir / "stage/a", ""); }, Exit::wrong_input), "no Parquet file"));
  // A file in front of it, with another picture in its first row.
  ParquetWriter more(dir / "stage/a/1.parquet",
                     {{"id"}, {"problem"}, {"answer"}, {"images", ParquetField::Kind::list, {parquet_image("item")}}});
  const std::string picture(MappedFile::open("tests/golden/images_fast/rgb.png")->text());
  more.add(Json::object({{"id", "more"},
                         {"problem", "<image>?"},
                         {"answer", "1"},
                         {"images", std::vector<Json>{Json::object({{"bytes", picture}})}}}));
  more.finish();
  const RecordFile both(dir / "stage", "");
  REQUIRE(both.records().size() == records.size() + 1);
  CHECK(both.fingerprint() != one.fingerprint());
  CHECK(both.records()[0].where == cat(dir / "stage/a/1.parquet", ": row 1"));
  CHECK(both.pictures(both.records()[0]) == std::vector<Image>{read_image("tests/golden/images_fast/rgb.png")});
  for (std::size_t i = 0; i < records.size(); ++i)
    CHECK(both.pictures(both.records()[i + 1]) == one.pictures(records[i]));
}

TEST_CASE("rl: lists of a conversation that do not name every question are refused, and what nothing verifies") {
  const ScratchDirectory dir;
  const auto read = [&](const std::string& more) {
    write_durably(dir / "turns.jsonl",
                  cat(R"({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "1"},)"
                      R"({"from": "human", "value": "b"}, {"from": "gpt", "value": "2"}])",
                      more, "}\n"));
    return RecordFile(dir / "turns.jsonl", "").records();
  };
  const auto says = [&](const std::string& more, const std::string& what) {
    const std::string said = thrown([&] { read(more); }, Exit::wrong_input);
    CHECK_MESSAGE(contains(said, "turns.jsonl:1: " + what), said);
  };
  for (const std::string key : {"templates", "answer_types"}) {
    const std::string begin = cat(",\"", key, "\":");
    for (const char* bad : {"\"any\"", "[\"any\"]", "[\"any\",\"any\",\"any\"]", "{\"any\":1}", "2", "[]"})
      says(begin + bad, key + ": expected a list of 2 texts, one a question, found " + bad);
    says(begin + "[\"any\",7]", key + ": question 2: expected a text, found 7");
    says(begin + "[null,\"any\"]", key + ": question 1: expected a text, found null");
    CHECK(read(begin + "null").size() == 2);
    CHECK(read(begin + "[\"any\",\"\"]")[1].answer_type == "any");
  }
  says(R"(,"answer_types":["any","bbox-bear"])",
       "answer_types: nothing verifies 'bbox-bear'; did you mean 'bbox-bare'");
  CHECK(read(R"(,"answer_types":["number","any"])")[0].answer_type == "number");
  CHECK(read(R"(,"id":7)")[1].id == "7_1");
  CHECK(read(R"(,"id":null)")[1].id == "record_0_1");
  says(R"(,"id":[7])", "id: expected a text or a whole number, found [7]");
}

TEST_CASE(
    "rl: records that nobody can earn anything with, and pictures that cannot be read, are named by their place") {
  const ScratchDirectory dir;
  const auto says = [&](const std::string& line, const std::string& what) {
    write_durably(dir / "r.jsonl", line + "\n");
    const std::string said = thrown(
        [&] {
          const RecordFile file(dir / "r.jsonl", "");
          make_prompt(file.records()[0], file.pictures(file.records()[0]), loader_test::small_processor(),
                      PromptStyle::plain);
        },
        Exit::wrong_input);
    CHECK_MESSAGE(contains(said, "r.jsonl:1: " + what), said);
  };
  says(R"({"problem":"a","answer":[]})", "answer: expected a text or a list of texts, found []");
  says(R"({"problem":"a","answer":[null]})", "answer: expected a text or a list of texts, found [null]");
  says(R"({"problem":"a","answer":null})", "answer: expected a text or a list of texts, found null");
  says(R"({"problem":"a","answer":"1","id":""})", "id: expected a text that is not empty");
  says(R"({"problem":"<image>","answer":"1","images":["not_there.png"]})", "");
  write_durably(dir / "half.png",
                std::string(MappedFile::open("tests/golden/images_fast/tiny.png")->text().substr(0, 40)));
  says(R"({"problem":"<image>","answer":"1","images":["half.png"]})", "");
  says(R"({"problem":"<image>","answer":"1","images":["a\u0000b"]})", "images: a path cannot hold a zero byte");
  says(R"({"problem":"<|image_pad|>","answer":"1"})", "the text holds 1 picture placeholder(s)");
}

TEST_CASE("rl: a prompt that is too long is named by its record") {
  const Lessons lessons;
  SelectionRun run;
  run.model_dir = lessons.path("start"), run.records = lessons.path("records.jsonl"), run.out = lessons.path("out");
  run.rollouts = {.group = 2, .max_new_tokens = 1 << 20, .style = PromptStyle::plain};
  const std::string said = thrown([&] { run_selection(run); }, Exit::wrong_input);
  CHECK_MESSAGE(contains(said, "records.jsonl:1: max_new_tokens is 1048576 after a prompt of"), said);
}

TEST_CASE("rl: what was kept of another file is refused, though its records have the same ids") {
  const ScratchDirectory dir;
  const std::string file = dir / "r.jsonl", keep = dir / "kept.jsonl";
  const auto write = [&](const char* problem, const char* answer) {
    write_durably(file, cat(R"({"problem":")", problem, R"(","answer":")", answer, "\"}\n"));
  };
  write("a", "1");
  write_durably(
      keep,
      Json::object({{"id", "unnamed_0000"}, {"question", question_hash(RecordFile(file, "").records()[0])}}).dump() +
          "\n");
  CHECK(RecordFile(file, "", {}, keep).records().size() == 1);
  CHECK(RecordFile(file, "", {}, keep).fingerprint() != RecordFile(file, "").fingerprint());
  for (const auto& [problem, answer] : {std::pair{"b", "1"}, {"a", "2"}}) {
    write(problem, answer);
    const std::string said = thrown([&] { RecordFile(file, "", {}, keep); }, Exit::wrong_input);
    CHECK_MESSAGE(contains(said, "kept.jsonl:1: the record 'unnamed_0000'"), said);
    CHECK_MESSAGE(contains(said, "asks something else than the one that was kept"), said);
  }
  // Pairs of answers that go by the same ids ask in their own words.
  write_durably(dir / "pairs.jsonl", R"({"prompt":"a","chosen":"1","rejected":"2"})"
                                     "\n");
  CHECK(RecordFile(dir / "pairs.jsonl", "", {}, keep, RecordKind::preference).records().size() == 1);
  write_durably(keep, "{\"id\":\"unnamed_0000\"}\n");  // by hand
  CHECK(RecordFile(file, "", {}, keep).records().size() == 1);
}

}  // namespace ov::test
