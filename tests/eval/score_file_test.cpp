// eval --score: lines in, the same lines with their scores out.
#include "eval/score_file.h"

#include <filesystem>

#include "base/io/file.h"
#include "eval/scorers/statistics.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;
using namespace ov::public_tasks;

namespace {

const char* lines =
    "{\"id\": 7, \"prediction\": \"0.52\", \"answer\": \"0.5\", \"doc\": {\"type\": \"human_test\"}, \"own\": [1]}\n"
    "{\"id\": 8, \"prediction\": \"<think>0.5</think> 9\", \"answer\": \"0.5\", \"doc\": {\"type\": \"human_test\"}, "
    "\"score\": 1}\n";

}  // namespace

TEST_CASE("score file: lines, an object of cases and lmms-eval's samples give the same scores") {
  const ScratchDirectory dir;
  write_durably(dir / "lines", lines);
  const std::string joined = [] {
    std::string s = lines;
    s.replace(s.find('\n'), 1, ",");
    return s;
  }();
  write_durably(dir / "cases", "{\"cases\": [" + joined + "]}");
  write_durably(dir / "samples",
                "{\"doc_id\": 7, \"target\": \"0.5\", \"filtered_resps\": [\"0.52\"], \"doc\": {}}\n"
                "{\"doc_id\": 8, \"target\": \"0.5\", \"resps\": [[\"<think>0.5</think> 9\"]], \"filtered_resps\": "
                "[\"9\"], \"doc\": {}}\n");
  for (const char* name : {"lines", "cases", "samples"}) {
    CAPTURE(name);
    const Json results = score_file({.file = dir / name, .task = "chartqa", .out = dir / "out"});
    const Lines out = read_lines(dir / "out");
    REQUIRE(out.size() == 2);
    CHECK(scores(out) == Values{1, 0});  // the score that a line brought counts for nothing
    CHECK(results.at("results").at("chartqa").at("relaxed_overall,none").as_double() == 0.5);
    CHECK(results.at("results").at("chartqa").at("relaxed_overall_stderr,none").as_double() == 0.5);
    CHECK(Json::read(dir / "out.results.json").dump() == results.dump());
    CHECK(contains(score_text(results), "relaxed_overall"));
  }
  score_file({.file = dir / "lines", .task = "chartqa", .out = dir / "out"});
  CHECK(read_lines(dir / "out")[0].at("own").dump() == "[1]");
}

TEST_CASE("score file: into a directory go lmms-eval's two files") {
  const ScratchDirectory dir;
  write_durably(dir / "lines", lines);
  score_file({.file = dir / "lines", .task = "chartqa", .out = dir / "run/"});
  const auto names = list_directory(dir / "run");
  REQUIRE(names.size() == 2);
  CHECK(names[0].ends_with("_results.json"));
  CHECK(names[1].ends_with("_samples_chartqa.jsonl"));
}

TEST_CASE("score file: faults name file and line, and judge tasks are refused by name") {
  const ScratchDirectory dir;
  const auto score = [&](const char* content, const char* task) {
    write_durably(dir / "f", content);
    return thrown([&] { score_file({.file = dir / "f", .task = task, .out = dir / "out"}); });
  };
  CHECK(contains(score("{\"prediction\": \"1\", \"answer\": \"1\"}\n[1]\n", "chartqa"), "f:2: expected an object"));
  CHECK(contains(score("{\"answer\": \"1\"}\n", "chartqa"), "f:1: prediction: missing"));
  CHECK(contains(score("", "chartqa"), "expected at least one case"));
  CHECK(contains(score(lines, "mathverse"), "a judge model decides"));
  CHECK(contains(score(lines, "docvqa_test"), "evaluation server"));
  CHECK(contains(score(lines, "chartqua"), "did you mean 'chartqa'"));
  CHECK_FALSE(std::filesystem::exists(dir / "out"));
}

TEST_CASE("score file: what only a judge could score keeps no score, and their exception counts as wrong") {
  const ScratchDirectory dir;
  write_durably(dir / "f",
                "{\"prediction\": \"It seems so.\", \"answer\": [0, 1], \"score\": 1, \"doc\": {\"id\": \"x-1\", "
                "\"response_lengths\": [3, 4]}}\n");
  const auto counted = [&](const char* task, const char* key, Compat compat = Compat::lmms) {
    const Json r = score_file({.file = dir / "f", .task = task, .out = dir / "out", .compat = compat});
    CHECK(r.at("compat").as_string() == (compat == Compat::lmms ? "lmms-0.7.3" : "fixed"));
    return r.at("tasks").at(task).at(key).as_int();
  };
  CHECK(counted("vl_rewardbench", "asked_judge") == 1);
  CHECK_FALSE(read_lines(dir / "out")[0].find("score"));
  write_durably(dir / "f",
                "{\"prediction\": \"[0.1, 0.5, 0.5, 0.1]\", \"answer\": [0.1, 0.1, 0.5, 0.5], \"doc\": {}}\n");
  CHECK(counted("refcoco_rec", "errors") == 1);
  CHECK(read_lines(dir / "out")[0].at("error").as_string() == "ZeroDivisionError");
  CHECK(counted("refcoco_rec", "errors", Compat::fixed) == 0);
}

TEST_CASE("score file: a field of another kind is named, with its file and line") {
  const ScratchDirectory dir;
  const std::string good = R"({"prediction": "x", "answer": "x"})";
  const std::tuple<const char*, const char*, const char*> faults[] = {
      {"chartqa", R"({"prediction": 7, "answer": "x"})", "f:2: prediction: expected a string"},
      {"chartqa", R"({"prediction": "x", "answer": 7})", "f:2: answer: expected a string"},
      {"chartqa", R"({"prediction": "x"})", "f:2: key 'answer' is missing"},
      {"docvqa", R"({"prediction": "x", "answer": 7})", "f:2: answer: expected an array"},
      {"docvqa", R"({"prediction": "x", "answer": ["x", 7]})", "f:2: answer: expected a string"}};
  for (const auto& fault : faults) {
    write_durably(dir / "f", good + "\n" + std::get<1>(fault) + "\n");
    const std::string said =
        thrown([&] { score_file({.file = dir / "f", .task = std::get<0>(fault), .out = dir / "out"}); });
    CHECK_MESSAGE(contains(said, std::get<2>(fault)), said);
  }
}

TEST_CASE("score file: McNemar's exact test beside another run") {
  // 8 questions that only the first answers right, 1 that only the second: 2 (1 + 9) / 2^9.
  Lines first, second;
  for (int i = 0; i < 12; ++i) {
    first.push_back(Json::object({{"id", i}, {"score", i < 8 || i > 9 ? 1.0 : 0.0}}));
    second.push_back(Json::object({{"id", i}, {"score", i == 8 || i > 9 ? 1.0 : 0.0}}));
  }
  std::swap(second[1], second[8]);  // pairs go by id
  const Json c = compare_runs(first, second, "other");
  CHECK(c.at("only_first").as_int() == 8);
  CHECK(c.at("only_second").as_int() == 1);
  CHECK(c.at("p").as_double() == doctest::Approx(20.0 / 512));
  CHECK(mcnemar({1, 0}, {1, 0}).p == 1);
  CHECK(contains(thrown([&] { compare_runs(first, {}, "other"); }), "other: expected scored lines"));
}
