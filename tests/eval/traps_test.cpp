// Where a second implementation of the public scorers goes wrong, one by one.
#include "eval/scorers/statistics.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::public_tasks;
using namespace ov::test;

namespace {

Json line(const std::string& prediction, const Json& answer, const char* doc = "{}") {
  return Json::object({{"prediction", prediction}, {"answer", answer}, {"doc", Json::parse(doc, "doc")}});
}
Json scored(const char* task, const std::string& prediction, const Json& answer, const char* doc = "{}") {
  return score_line(task_named(task), line(prediction, answer, doc), Compat::lmms);
}
double score(const char* task, const std::string& prediction, const Json& answer, const char* doc = "{}") {
  return scored(task, prediction, answer, doc).at("score").as_double();
}
Json metrics(const char* task, const Lines& lines, Compat compat = Compat::lmms) {
  Lines out;
  for (const Json& l : lines) out.push_back(score_line(task_named(task), l, compat));
  return task_named(task).metrics(out, compat);
}

}  // namespace

TEST_CASE("MMMU: open questions are scored since 0.7.3; a choice without a letter is marked as drawn there (E-09)") {
  CHECK(score("mmmu", "The answer is 7.", "7", R"({"question_type": "open", "options": "[]"})") == 1);
  const char* choice = R"({"question_type": "multiple-choice", "options": "['cat', 'dog']"})";
  const Json none = scored("mmmu", "?", "A", choice);
  CHECK(none.at("random").as_bool());
  CHECK(none.at("score").as_double() == 0);
  CHECK(scored("mmmu", "(B)", "B", choice).find("random") == nullptr);
}

TEST_CASE("MMMU-Pro's pictures of questions: the reply as it is, not its letter (E-10)") {
  CHECK(score("mmmu_pro_vision", "A", "A") == 1);
  CHECK(score("mmmu_pro_vision", "The answer is A", "A") == 0);
}

TEST_CASE("OCRBench is of a thousand, MME asks in pairs, POPE's yes ratio is that of the golds (E-11)") {
  const char* text = R"({"dataset": "d", "question_type": "Regular Text Recognition"})";
  const Lines two = {line("ab", std::vector<std::string>{"a"}, text), line("x", std::vector<std::string>{"a"}, text)};
  CHECK(metrics("ocrbench", two).at("ocrbench_accuracy").at("value").as_double() == 0.001);
  CHECK(metrics("ocrbench", two, Compat::fixed).at("ocrbench_accuracy").dump() ==
        metrics("ocrbench", two).at("ocrbench_share").dump());
  const char* doc = R"({"question_id": "q", "category": "existence"})";
  const Lines pair = {line("Yes", "Yes", doc), line("No", "No", doc)};
  CHECK(metrics("mme", pair).at("mme_perception_score").at("value").as_double() == 200);
  CHECK(metrics("mme", {pair[0]}).at("mme_perception_score").at("error").as_string() == "AssertionError");
  const Lines pope = {line("no", "yes"), line("no", "yes"), line("no", "no"), line("no", "no")};
  CHECK(metrics("pope", pope).at("pope_yes_ratio").at("value").as_double() == 0.5);
  CHECK(metrics("pope", pope).at("pope_replies_yes_ratio").at("value").as_double() == 0);
}

TEST_CASE("relaxed accuracy: a gold of 0 is text, 0.525 is not near 0.5, years are near, numbers are Python's (E-12)") {
  const char* doc = R"({"type": "human_test"})";
  const auto ok = [&](const char* reply, const char* gold) { return score("chartqa", reply, gold, doc) == 1; };
  CHECK(ok("0", "0"));
  CHECK_FALSE(ok("0.0", "0"));
  CHECK_FALSE(ok("0.525", "0.5"));
  CHECK(ok("0.52", "0.5"));
  CHECK(ok("2021", "2019"));
  CHECK(ok("52%", "0.5"));
  CHECK_FALSE(ok("50", "50%"));
  CHECK(ok("1_000", "1000"));
  CHECK_FALSE(ok("1,000", "1000"));
  CHECK_FALSE(ok("0x10", "16"));
  CHECK(ok("\xd9\xa3", "3"));  // an Arabic digit
  CHECK_FALSE(ok("nan", "nan"));
}

TEST_CASE("ANLS divides by the length in capitals, before anything is collapsed (E-13)") {
  const auto anls = [](const char* reply, const char* gold) {
    return score("docvqa", reply, std::vector<std::string>{gold});
  };
  CHECK(anls("strasse",
             "stra\xc3\x9f"
             "e") == 0.7142857142857143);  // of 7, since the capital of the sharp s is two letters
  CHECK(anls("hello world", "Hello  World") == 1);
  CHECK(anls("abxx", "abcd") == 0.5);
  CHECK(anls("hello", "hello world") == 0);
}

TEST_CASE("VQA: marks are judged in the text as it came, a comma between digits changes all of them (E-14)") {
  const auto form = [](const char* reply) {
    return scored("textvqa", reply, std::vector<std::string>(10, "x")).at("parsed").as_string();
  };
  CHECK(form("The Two dogs") == "2 dogs");
  CHECK(form("dont") == "don't");
  CHECK(form("im") == "im");  // the key is Im, which lowered text never has
  CHECK(form("somebodyd") == form("somebody'd"));
  const auto vqav2 = [](const char* reply) {
    return scored("vqav2", reply, std::vector<std::string>(10, "x")).at("parsed").as_string();
  };
  CHECK(vqav2("a-b") == "b");              // the mark becomes a blank, and what is left of it an article
  CHECK(vqav2("1,000 a-b") == "1000 ab");  // with a comma between digits marks vanish
}

TEST_CASE("letters: what their rules find in words that mean something else (E-15)") {
  CHECK(scored("vstar_bench", "Because", "A", R"({"category": "c"})").at("parsed").as_string() == "B");
  CHECK(scored("mme_realworld", "", "A").at("parsed").as_string() == "A");
  CHECK(scored("cv_bench", "the answer is C", "C", R"({"type": "2D", "task": "Count", "source": "ADE20K"})")
            .at("parsed")
            .as_string() == "T");
}

TEST_CASE("boxes: an overlap that rounds to just under one half is under it (E-16)") {
  // Intersection, two areas, their sum less it, in this order: another order rounds to 0.5.
  const Json gold = std::vector<double>{0.1, 0.1, 0.5, 0.5};
  CHECK(score("refcoco_rec", "[0.1, 0.1, 0.5, 0.5]", gold) == 1);
  int below = 0, at = 0;
  for (int i = 1; i < 400; ++i) {  // boxes of half the gold's width
    const double low = i / 1000.0, high = low + 0.4;
    const Json box = std::vector<double>{low, low, high, high};
    const Json half = std::vector<double>{low, low, low + 0.2, high};
    std::string said = "[";
    for (const Json& v : half.items()) said += (said.size() > 1 ? ", " : "") + v.dump();
    const Json s = scored("refcoco_rec", said + "]", box);
    const double iou = s.at("score").as_double();
    below += iou < 0.5, at += iou >= 0.5;
    CHECK(s.at("metrics").at("ACC@0.5").as_double() == (iou >= 0.5 ? 1.0 : 0.0));
    const double both = (low + 0.2 - low) * (high - low), a = (high - low) * (high - low);
    CHECK(iou == both / (a + both - both));
  }
  CHECK(below > 0);
  CHECK(at > 0);
}

TEST_CASE("mathvision: what takes a pattern too long is no number, and the next reply is scored") {
  const std::string slow = "\\boxed{1" + std::string(3000, '\t') + "2}";
  CHECK(score("mathvision_testmini", slow, "12") == 0);
  CHECK(score("mathvision_testmini", "\\boxed{12}", "12") == 1);
}
