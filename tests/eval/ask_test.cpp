// Public tasks as requests: their prompts beside lmms-eval's, their data in every form, what becomes of the replies.
#include "eval/ask.h"

#include <filesystem>
#include <map>
#include <set>

#include "base/base64.h"
#include "base/io/file.h"
#include "base/text.h"
#include "eval/documents.h"
#include "eval/score_file.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/eval/asking.h"

using namespace ov;
using namespace ov::public_tasks;
using namespace ov::test;

namespace {

const std::string tasks_file = "tests/golden/lmms_tasks/tasks.json";

}  // namespace

TEST_CASE("public prompts: every document of tests/golden/scorers/prompts.json is asked as lmms-eval asks it (E-06)") {
  const Json golden = Json::read("tests/golden/scorers/prompts.json");
  std::size_t n = 0;
  for (const auto& member : golden.at("tasks").members()) {
    const std::string& name = member.first;
    const Json& task = member.second;
    CAPTURE(name);
    const Prompt& prompt = prompt_named(name);
    const Json& kwargs = task.at("generation_kwargs");
    const Json* most = kwargs.find("max_new_tokens");
    CHECK(prompt.max_tokens == (most ? most->as_int() : 1024));
    CHECK(prompt.top_p == (kwargs.find("top_p") != nullptr));
    CHECK(prompt.temperature == (kwargs.find("temperature") ? kwargs.at("temperature").as_double() : 0));
    for (const Json& p : task.at("prompts").items()) {
      CHECK(prompt.text(p.at("doc")) == p.at("prompt").as_string());
      ++n;
      CHECK((p.find("system") == nullptr) == prompt.system.empty());
      if (!p.find("system")) continue;
      Json doc = p.at("doc");
      doc.set("image_path", "P");
      std::string parts = "system:[" + p.at("system").as_string() + "]user:";
      for (const Json& part : p.at("parts").items())
        parts += part.as_string() == "image" ? "<data:image/png;base64,P>" : "[" + part.as_string() + "]";
      CHECK(said(request_body(prompt, doc, "m", [](const Json& picture) { return picture.as_string(); })) == parts);
    }
  }
  CHECK(n > 0);
  std::set<std::string_view> names;
  for (const Prompt& p : prompts())
    for (const auto name : p.names) CHECK_MESSAGE(names.insert(name).second, name);
  CHECK(contains(thrown([] { prompt_named("chatqa"); }), "chartqa"));
}

TEST_CASE(
    "public requests: pictures stand before the text, or where the question says so; a system text, the limits "
    "(E-04)") {
  const auto body = [](const Prompt& prompt, const std::string& doc) {
    return request_body(prompt, Json::parse(doc, "doc"), "m", [](const Json& p) { return p.as_string(); });
  };
  const auto text = [&](const Prompt& prompt, const std::string& doc) {
    std::string all = said(body(prompt, doc));
    for (std::size_t at; (at = all.find("data:image/png;base64,")) != all.npos;) all.erase(at, 22);
    return all;
  };
  const Prompt& chart = prompt_named("chartqa");
  CHECK(text(chart, R"({"question": " a<image> ", "image": "P"})") ==
        "user:<P>[ a<image> \nAnswer the question with a single word.]");
  CHECK(body(chart, R"({"question": "a", "image": "P"})").dump() ==
        R"({"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":)"
        R"("data:image/png;base64,P"}},{"type":"text","text":"a\nAnswer the question with a single word."}]}],)"
        R"("max_tokens":16,"temperature":0})");
  CHECK(body(prompt_named("pope"), R"({"question": "a", "image": "P"})").at("top_p").as_double() == 1);
  CHECK(body(prompt_named("vl_rewardbench"), R"({"query": "a", "response": ["", ""], "image": "P"})")
            .at("temperature")
            .as_double() == 1);
  // Where lmms-eval would raise, the document is refused; what it asks without a picture is asked.
  for (const char* none : {R"({"question": "a"})", R"({"question": "a", "image": null})"})
    CHECK(contains(thrown([&] { body(chart, none); }), "no picture, and chartqa asks about one"));
  CHECK(text(prompt_named("scienceqa"), R"({"question": "a", "choices": [], "image": null})").starts_with("user:[a"));
  const Prompt& mmmu = prompt_named("mmmu_val");
  const std::string open = "\n\nAnswer the question using a single word or phrase.";
  CHECK(text(mmmu, R"({"question": "One <image 1> two <image 2> three", "question_type": "open", "options": "[]",
                       "image_1": "P", "image_2": "Q", "image_3": "R"})") ==
        "user:[One]<P>[two]<Q>[three" + open + "]");
  CHECK(text(mmmu,
             R"({"question": "<image 1> same <image 1>", "question_type": "open", "options": "[]", "image_1": "P"})") ==
        "user:<P>[" + open.substr(2) + "]");
  Prompt own = prompt_named("ai2d");
  own.placement = ImagePlacement::left_first;
  const std::string end = R"(", "options": ["x", "y"], "image": ["P", "Q"], "system": "S"})";
  const std::string ask = "\nA. x\nB. y\nAnswer with the option's letter from the given choices directly.]";
  CHECK(text(own, R"({"question": "a <image> b)" + end) == "system:[S]user:<P>[a]<Q>[b" + ask);
  CHECK(text(own, R"({"question": "<image>a<image>b)" + end) == "system:[S]user:<P>[a]<Q>[b" + ask);
}

TEST_CASE(
    "public data: JSON lines, a list, Parquet, folders and splits are the same documents; what is none is told "
    "(E-17)") {
  const ScratchDirectory dir;
  const std::string picture = read_file("tests/golden/images_fast/tiny.png");
  const std::string rows[] = {R"({"question": "a", "answer": "x", "image": "p.png"})",
                              R"({"question": "b", "answer": "y", "image": "p.png"})"};
  write_durably(dir / "p.png", picture);
  write_durably(dir / "lines.jsonl", rows[0] + "\n" + rows[1] + "\n");
  write_durably(dir / "list.json", "[" + rows[0] + "," + rows[1] + "]");
  make_directories(dir / "folder/test");
  write_durably(dir / "folder/test/metadata.jsonl", R"({"question": "a", "answer": "x", "file_name": "p.png"})"
                                                    "\n"
                                                    R"({"question": "b", "answer": "y", "file_name": "p.png"})"
                                                    "\n");
  write_durably(dir / "folder/test/p.png", picture);
  make_directories(dir / "splits");
  write_durably(dir / "splits/test-00000-of-00002.jsonl", rows[0] + "\n");
  write_durably(dir / "splits/test-00001-of-00002.jsonl", rows[1] + "\n");
  write_durably(dir / "splits/p.png", picture);
  for (const char* path : {"lines.jsonl", "list.json", "folder", "splits"}) {
    CAPTURE(path);
    const Documents d(dir / path);
    REQUIRE(d.size() == 2);
    for (const std::int64_t i : {0, 1}) {
      const Json doc = d.read(i);
      CHECK(doc.at("question").as_string() == (i ? "b" : "a"));
      CHECK(d.picture(prompt_named("chartqa").pictures(doc).at(0)) == to_base64(picture));
    }
  }
  write_durably(dir / "splits/validation.jsonl", rows[0] + "\n");
  CHECK(contains(thrown([&] { Documents(dir / "splits"); }), "test, validation"));
  CHECK(Documents(dir / "splits", "validation").size() == 1);
  CHECK(contains(thrown([&] { Documents(dir / "splits", "train"); }), "no split train"));
  CHECK(contains(thrown([&] { Documents(dir / "none.jsonl"); }), "none.jsonl"));
  make_directories(dir / "loop");
  std::filesystem::create_symlink("round.jsonl", dir / "loop/round.jsonl");
  CHECK(contains(thrown([&] { Documents(dir / "loop"); }), "loop: cannot read "));
  CHECK(contains(thrown([&] { Documents(dir / "p.png"); }), "p.png"));
  CHECK(contains(thrown([&] { Documents(dir / "x.arrow"); }), "to_parquet"));
  const Documents d(dir / "lines.jsonl");
  CHECK(d.picture(Json::object({{"bytes", Json::object({{"base64", "QUJD"}})}, {"path", "p.png"}})) == "QUJD");
  CHECK(d.picture(Json::object({{"bytes", Json()}, {"path", "p.png"}})) == to_base64(picture));
  CHECK(d.picture(to_base64(picture)) == to_base64(picture));
  CHECK(contains(thrown([&] { d.picture("q.png"); }), "no file"));
  std::filesystem::create_symlink("/etc/hostname", dir / "host.png");
  for (const std::string other : {"/etc/hostname", "../../../../../etc/hostname", "host.png"})  // not of this data set
    CHECK(contains(thrown([&] { d.picture(other); }), other[0] == '.' ? "picture: " : "is not below"));
  const Documents parquet("tests/golden/lmms_tasks/data/choice.parquet");
  for (std::int64_t i = 0; i < parquet.size(); ++i)
    for (const Json& p : prompt_named("blink").pictures(parquet.read(i)))
      CHECK(from_base64(parquet.picture(p)).substr(1, 3) == "PNG");
}

TEST_CASE(
    "public tasks: replies are scored, and files are lmms-eval's; they can be scored and compared again (E-02, E-07)") {
  const ScratchDirectory dir;
  AskOptions options{.tasks = tasks_file, .data = "", .split = "", .out = dir / "out", .model = "a/b"};
  std::size_t pictures = 0;
  const auto right = [&](const Json& body) {
    const std::string all = said(body);
    pictures += count(all, "<data:image");
    if (all.find("Page 0") != all.npos)
      return Json::object({{"error", Json::object({{"message", "status 400: too large"}})}});
    Json none = reply("");
    if (all.find("Page 1") != all.npos)
      none.set("choices", std::vector<Json>{Json::object({{"message", Json::object({{"content", Json()}})}})});
    return all.find("Page 1") != all.npos ? none : all.find("Item") != all.npos ? reply("A") : reply("83");
  };
  const Json results = ask_tasks(answering(right), options);
  std::size_t there = 0;
  for (const char* file : {"chart.jsonl", "doc.jsonl", "choice.parquet"}) {
    const Documents d(std::string("tests/golden/lmms_tasks/data/") + file);
    for (std::int64_t i = 0; i < d.size(); ++i) there += pictures_of(d.read(i)).size();
  }
  CHECK(pictures == there);
  const std::string folder = dir / "out/a_b/";
  std::map<std::string, Lines> samples;
  for (const std::string& name : list_directory(folder))
    if (const auto at = name.find("_samples_"); at != name.npos)
      samples[name.substr(at + 9, name.size() - at - 15)] = read_lines(folder + name);
  CHECK(samples.size() == 3);
  for (const auto& sample : samples) {
    const std::string& task = sample.first;
    const Lines& lines = sample.second;
    CAPTURE(task);
    CHECK(results.at("n-samples").at(task).at("effective").as_int() == std::ssize(lines));
    for (std::size_t i = 0; i < lines.size(); ++i)
      CHECK(lines[i].at("doc_id").as_int() == static_cast<std::int64_t>(i));
  }
  CHECK(samples["ov_chart_local"][0].at("score").as_double() == 1);
  CHECK(samples["ov_doc_local"][0].at("failed").as_string() == "status 400: too large");
  CHECK(samples["ov_doc_local"][1].at("prediction").as_string() == "");
  CHECK(results.at("tasks").at("ov_doc_local").at("failed").as_int() == 1);
  CHECK(contains(score_text(results), "failed: 1"));

  // The samples again: the same scores, and no difference between the two.
  for (const std::string& name : list_directory(folder))
    if (name.ends_with("_samples_ov_choice_local.jsonl")) {
      const Json again =
          score_file({.file = folder + name, .task = "mmstar", .out = dir / "again", .compare = folder + name});
      CHECK(again.at("tasks").at("mmstar").at("metrics").dump() ==
            results.at("tasks").at("ov_choice_local").at("metrics").dump());
      CHECK(again.at("compare").at("p").as_double() == 1);
    }
  options.limit = 2, options.tasks = "chartqa", options.data = "tests/golden/lmms_tasks/data/chart.jsonl";
  const Json two = ask_tasks(answering(right), options);
  CHECK(two.at("n-samples").at("chartqa").at("effective").as_int() == 2);
  CHECK(two.at("n-samples").at("chartqa").at("original").as_int() > 2);
}

TEST_CASE(
    "public tasks: an odd answer is a failed request and ends nothing; null is no error; counts are two integers") {
  const ScratchDirectory dir;
  const std::string good = R"("choices": [{"message": {"content": "1"}}])";
  const std::pair<std::string, bool> answers[] = {
      // and whether it failed
      {"[]", true},
      {"7", true},
      {"{}", true},
      {R"({"choices": {}})", true},
      {R"({"choices": []})", true},
      {R"({"choices": [{}]})", true},
      {R"({"choices": [null]})", true},
      {R"({"choices": [{"message": {}}]})", true},
      {R"({"choices": [{"message": {"content": [1]}}]})", true},
      {R"({"choices": [{"message": {"content": 1}}]})", true},
      {R"({"error": "busy"})", true},
      {R"({"error": {"message": ""}})", true},
      {R"({"error": {"message": {}}})", true},
      {R"({"error": {"code": 1}, )" + good + "}", true},
      {R"({"error": null, )" + good + "}", false},
      {R"({"usage": {}, )" + good + "}", false},
      {R"({"usage": null, )" + good + "}", false},
      {R"({"usage": [1], )" + good + "}", false},
      {R"({"usage": {"prompt_tokens": 1, "completion_tokens": null}, )" + good + "}", false},
      {R"({"usage": {"prompt_tokens": "1", "completion_tokens": 2.5}, )" + good + "}", false}};
  std::string rows;
  for (std::size_t i = 0; i < std::size(answers); ++i)
    rows += "{\"question\": \"q\", \"answer\": \"1\", \"image\": \"p.png\"}\n";
  write_durably(dir / "d.jsonl", rows);
  write_durably(dir / "p.png", read_file("tests/golden/images_fast/tiny.png"));
  const Asker odd = [&](std::size_t n, const auto& body, const auto& take) {
    for (std::size_t i = 0; i < n; ++i) body(i), take(i, Json::parse(answers[i].first, "answer"));
  };
  const Json results = ask_tasks(odd, {.tasks = "chartqa", .data = dir / "d.jsonl", .split = "", .out = dir / "out"});
  std::int64_t failed = 0;
  for (const std::string& name : list_directory(dir / "out/default"))
    if (contains(name, "_samples_")) {
      const Lines lines = read_lines(dir / "out/default/" + name);
      REQUIRE(lines.size() == std::size(answers));
      for (std::size_t i = 0; i < lines.size(); ++i) {
        CAPTURE(answers[i].first);
        CHECK((lines[i].find("failed") != nullptr) == answers[i].second);
        CHECK(lines[i].at("prediction").as_string() == (answers[i].second ? "" : "1"));
        CHECK(lines[i].at("token_counts")[0].size() == 0);
        failed += answers[i].second;
      }
    }
  CHECK(failed > 0);
  CHECK(results.at("tasks").at("chartqa").at("failed").as_int() == failed);
}

TEST_CASE("public prompts: a number of choices that has no letters is refused by its key") {
  const auto asked = [](const std::string& choices) {
    return thrown(
        [&] { prompt_named("cv_bench").text(Json::parse(R"({"prompt": "p", "choices": )" + choices + "}", "doc")); });
  };
  for (const char* good : {"0", "26", "[]", "[1, 2]"}) CHECK(asked(good) == "");
  for (const char* bad : {"-1", "27", "-9223372036854775808", "9223372036854775807"})
    CHECK(asked(bad) == cat("choices: expected 0 to 26, found ", bad));
  CHECK(contains(asked("\"AB\""), "choices"));
}

TEST_CASE("public tasks: expressions of RefCOCO are asked one by one, with boxes as shares of the picture") {
  const ScratchDirectory dir;
  write_durably(dir / "p.png", read_file("tests/golden/images_fast/tiny.png"));
  write_durably(dir / "ref.jsonl",
                R"({"question_id": "1", "image": "p.png", "bbox": [1, 2, 2, 1], "answer": ["left", "right"], )"
                R"("image_width": 4, "image_height": 4})"
                "\n");
  std::vector<std::string> asked;
  const Json r = ask_tasks(answering([&](const Json& body) {
                             asked.push_back(said(body));
                             return reply("[0.25, 0.5, 0.75, 0.75]");
                           }),
                           {.tasks = "refcoco_bbox_rec", .data = dir / "ref.jsonl", .split = "", .out = dir / "out"});
  CHECK(asked.size() == 2);
  CHECK(asked[0].ends_with("describes: right]"));
  CHECK(asked[1].ends_with("describes: left]"));
  CHECK(r.at("results").at("refcoco_bbox_rec").at("refcoco_IoU,none").as_double() == 1);
}

TEST_CASE("public tasks: what is not there is told before anything is asked (E-18)") {
  const ScratchDirectory dir;
  const Asker never = [](std::size_t, const auto&, const auto&) { CHECK(false); };
  const auto told = [&](const std::string& tasks, const std::string& data) {
    return thrown([&] { ask_tasks(never, {.tasks = tasks, .data = data, .split = "", .out = dir / "out"}); });
  };
  CHECK(contains(told("chatqa", "x"), "unknown task"));
  CHECK(contains(told("docvqa_test", "x"), "evaluation server"));
  CHECK(contains(told("mmvet", "x"), "judge"));
  CHECK(contains(told("extract_mcq_answer", "x"), "not known here"));
  CHECK(contains(told("chartqa,pope", dir / ""), "chartqa.jsonl"));
  CHECK(contains(told("chartqa", ""), "--data"));
  write_durably(dir / "t.json", R"({"tasks": {"own": {"scorer": "chartqa", "data": "d.jsonl", "promt": "ai2d"}}})");
  CHECK(contains(told(dir / "t.json", ""), "promt"));
  const std::pair<const char*, const char*> faulty[] = {
      // a file, and the place that is named
      {R"([])", ": expected an object of \"tasks\", found an array"},
      {R"({"tasks": 7})", ": expected an object of \"tasks\", found 7"},
      {R"({"tasks": {"own": 7}})", ": own: expected an object"},
      {R"({"tasks": {"own": {}}})", ": own: scorer: expected a text, found nothing"},
      {R"({"tasks": {"own": {"scorer": 7}}})", ": own: scorer: expected a string"},
      {R"({"tasks": {"own": {"scorer": "chartqa"}}})", ": own: data: expected a text, found nothing"},
      {R"({"tasks": {"own": {"scorer": "chartqa", "data": []}}})", ": own: data: expected a string"},
      {R"({"tasks": {"own": {"scorer": "chartqa", "data": "d", "prompt": 1}}})", ": own: prompt: expected a string"},
      {R"({"tasks": {"own": {"scorer": "chartqa", "data": "d", "split": 1}}})", ": own: split: expected a string"},
      {R"({"tasks": {"own": {"scorer": "chartqa", "data": "d", "interleave": 1}}})", ": own: interleave: expected"},
      {R"({"tasks": {"own": {"scorer": "chartqa", "data": "d", "max_tokens": "x"}}})", ": own: max_tokens: expected"},
      {R"({"tasks": {"own": {"scorer": "chartqa", "data": "d", "max_tokens": 0}}})", ": own: max_tokens: expected at"},
      {R"({"tasks": {"own": {"scorer": "chatqa", "data": "d"}}})", ": own: --tasks chatqa: unknown task"},
      {R"({"tasks": {"own": {"scorer": "chartqa", "data": "none.jsonl"}}})", "none.jsonl"}};
  for (const auto& fault : faulty) {
    write_durably(dir / "t.json", fault.first);
    const std::string said = told(dir / "t.json", "");
    CHECK_MESSAGE(contains(said, dir / "t.json"), said);
    CHECK_MESSAGE(contains(said, fault.second), said);
  }
  write_durably(dir / "ref.jsonl", "{\"answer\": [\"a\"]}\n{\"bbox\": []}\n");
  CHECK(contains(told("refcoco_bbox_rec", dir / "ref.jsonl"), "ref.jsonl: answer: missing"));
  write_durably(dir / "good.jsonl", "{\"question\": \"a\", \"answer\": \"1\"}\n");
  for (const std::string name : {"a/b", "", "..\\u0000/x", "a\\nb"}) {
    CAPTURE(name);
    write_durably(dir / "t.json", R"({"tasks": {")" + name + R"(": {"scorer": "chartqa", "data": "good.jsonl"}}})");
    CHECK(contains(told(dir / "t.json", ""), "t.json: tasks: expected a name"));
  }
  CHECK(contains(told("chartqa,chartqa", dir / ""), "twice"));
  const auto compared = [&](const std::string& with) {
    return thrown([&] {
      ask_tasks(never,
                {.tasks = "chartqa", .data = dir / "good.jsonl", .split = "", .out = dir / "out", .compare = with});
    });
  };
  CHECK(contains(compared(dir / "none.jsonl"), "none.jsonl"));
  write_durably(dir / "other.jsonl", "{\"id\": 7, \"score\": 1}\n");
  CHECK(contains(compared(dir / "other.jsonl"), "no common id"));
  write_durably(dir / "other.jsonl", "{\"id\": 0, \"score\": 1}\n7\n");
  CHECK(contains(compared(dir / "other.jsonl"), "other.jsonl:2: expected an object"));
  CHECK_FALSE(path_exists(dir / "out"));
  write_durably(dir / "out", "a file");
  CHECK(contains(told("chartqa", dir / "good.jsonl"), "out"));
  std::filesystem::remove(dir / "out");
  write_durably(dir / "d.jsonl", "{\"questoin\": \"a\"}\n");
  const Asker asks = [](std::size_t, const auto& body, const auto&) { body(0); };
  const std::string message =
      thrown([&] { ask_tasks(asks, {.tasks = "chartqa", .data = dir / "d.jsonl", .split = "", .out = dir / "out"}); });
  CHECK(contains(message, "chartqa: document 0"));
  CHECK(contains(message, "question"));
}
