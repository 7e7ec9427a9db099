// Cases at the edge of what records, verifiers and pairs take, each of which one line decides.
#include <doctest/doctest.h>

#include "rl/paired.h"
#include "rl/preferences.h"
#include "store/parquet/writer.h"
#include "tests/rl/policy_world.h"

namespace ov::test {

TEST_CASE("rl: strict boxes that are inverted either way earn nothing, and no areas cancel") {
  for (const char* type : {"bbox-strict", "bbox-bare"}) {
    const auto earned = [&](const std::string& said, const std::string& answer) {
      const bool bare = std::string(type) == "bbox-bare";
      const auto text = [&](const std::string& numbers) { return bare ? numbers : "[" + numbers + "]"; };
      const Reward r = reward("<answer>" + text(said) + "</answer>", Json(text(answer)), type, "");
      CHECK(r.raised == "");
      return r.reward;
    };
    CHECK(earned("0,0,1,1", "0,0,1,1") == 1);
    CHECK(earned("0,1,1,0", "0,0,1,1") == 0);
    CHECK(earned("1,0,0,1", "0,0,1,1") == 0);
    CHECK(earned("0,0,1,1", "0,1,1,0") == 0);
    CHECK(earned("0,0,1,1", "1,0,0,1") == 0);
    CHECK(earned("0,0,0,0", "0,0,0,0") == 0);
  }
}

TEST_CASE("rl: a strict choice may be marked in the answer, too; code without tests is right") {
  CHECK(reward("<answer>b</answer>", Json("(B)."), "multiple-choice-strict", "").reward == 1);
  CHECK(reward("<answer>b</answer>", Json(" B "), "multiple-choice-strict", "").reward == 1);
  const Reward code = reward("<answer>```python\nx\n```</answer>", Json(R"({"tests":[]})"), "general-code", "");
  CHECK(code.reward == 1);
  CHECK(code.raised == "");
}

TEST_CASE("rl: what a record leaves out: its number stands in its id, guidance that is null is an empty one") {
  const ScratchDirectory dir;
  write_durably(dir / "r.jsonl", R"({"problem":"a","answer":"1","source":"s"})"
                                 "\n"
                                 R"({"problem":"a","answer":"1","format_guidance":null})"
                                 "\n");
  const RecordFile file(dir / "r.jsonl", "");
  CHECK(file.records()[0].id == "s_0000");
  CHECK(file.records()[1].id == "unnamed_0001");
  CHECK(!file.records()[0].format_guidance);
  CHECK(file.records()[1].format_guidance.value_or("none") == "");
}

TEST_CASE("rl: a conversation's question asks for thinking where its answer stands in a block, else for the answer") {
  const ScratchDirectory dir;
  write_durably(dir / "c.json", R"([{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"1"},)"
                                R"({"from":"human","value":"b"},{"from":"gpt","value":"so <answer>2</answer>"}]}])");
  const RecordFile file(dir / "c.json", "");
  REQUIRE(file.records().size() == 2);
  CHECK(user_text(file.records()[0], PromptStyle::released).starts_with("Put ONLY your final answer"));
  CHECK(user_text(file.records()[1], PromptStyle::released).starts_with("Think and solve"));
  CHECK(file.records()[1].answer.as_string() == "2");
}

TEST_CASE("rl: paths of pictures begin where data.image_dir says, or are whole") {
  const ScratchDirectory dir;
  make_directories(dir / "pictures");
  std::filesystem::copy_file("tests/golden/images_fast/tiny.png", dir / "pictures/tiny.png");
  write_durably(dir / "r.jsonl",
                Json::object({{"problem", "<image><image>"},
                              {"answer", "1"},
                              {"images", std::vector<std::string>{"tiny.png", dir / "pictures/tiny.png"}}})
                        .dump() +
                    "\n");
  const RecordFile file(dir / "r.jsonl", dir / "pictures");
  const std::vector<Image> pictures = file.pictures(file.records()[0]);
  REQUIRE(pictures.size() == 2);
  CHECK(pictures[0] == pictures[1]);
  ParquetWriter rows(dir / "r.parquet",
                     {{"problem"}, {"answer"}, {"images", ParquetField::Kind::list, {parquet_image("item")}}});
  rows.add(Json::object(
      {{"problem", "<image>"}, {"answer", "1"}, {"images", std::vector<Json>{Json::object({{"path", "tiny.png"}})}}}));
  rows.finish();
  const RecordFile parquet(dir / "r.parquet", dir / "pictures");
  CHECK(parquet.pictures(parquet.records()[0]).at(0) == pictures[0]);
}

TEST_CASE("rl: a picture of one pixel's width is made no narrower, and refused for its shape by its record") {
  Prompt prompt;
  CHECK(contains(
      thrown([&] { add_pictures(prompt, {Image(1, 300000)}, loader_test::small_processor().images(), "here", true); }),
      "1 x "));
}

TEST_CASE("rl: an answer of a pair may spell no placeholder of a video either") {
  const Processor processor = loader_test::small_processor();
  CHECK(contains(thrown([&] {
                   make_pair({.where = "here", .turns = {{"user", "q"}}, .chosen = "a", .rejected = "<|video_pad|>"},
                             {}, processor);
                 }),
                 "here: rejected: spells a picture's placeholder"));
}

TEST_CASE("rl-table: one category is not pooled with itself") {
  const ScratchDirectory dir;
  const auto line = [](const char* category) {
    return cat(R"({"id":"a","category":")", category, R"(","template":"t","question":"?","score":1})", "\n");
  };
  write_durably(dir / "one", line("c") + line("c"));
  write_durably(dir / "two", line("c") + line("d"));
  CHECK(rl::paired_scores({dir / "one"}, {dir / "one"}).count("all categories") == 0);
  CHECK(rl::paired_scores({dir / "two"}, {dir / "two"}).count("all categories") == 1);
}

TEST_CASE("rl: a run that trains no module is refused") {
  const Lessons lessons;
  RlJob job = lessons.job("none");
  job.modules = {};
  CHECK(contains(thrown([&] { silently([&] { return run_rl(job); }); }), "train.modules: nothing is trained"));
}

}  // namespace ov::test
