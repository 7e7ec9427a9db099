// Held-out questions and the file that scores them: what is refused by name, and what is counted and passed over.
#include "eval/questions.h"

#include <doctest/doctest.h>

#include "base/io/file.h"
#include "tests/data/loader_fixture.h"

using namespace ov;
using namespace ov::loader_test;

namespace {

// A directory with a picture, no commonest answer and the given lines of questions.
class Held {
 public:
  explicit Held(const std::string& lines) {
    data_.png("a.png", 28, 28, 1);
    data_.write("commonest_answers.json", "{}");
    data_.write("q.jsonl", lines);
  }
  std::string path(const std::string& name) const { return data_.path(name); }
  std::size_t commonest(const std::string& tasks_json) const {
    return read_questions(data_.path("."), tasks(tasks_json), 0, [](const Rejected&) {}).commonest.size();
  }
  EvalTasks tasks(const std::string& json) const { return EvalTasks::read(data_.write("tasks.json", json)); }
  // The answers that can be asked for, and the rejects as "reason | message".
  std::vector<std::string> read(const std::string& tasks_json) {
    rejects.clear();
    const Questions q = read_questions(data_.path("."), tasks(tasks_json), 0, [&](const Rejected& r) {
      rejects.push_back(cat(name_of(r.reason()), " | ", r.what()));
    });
    std::vector<std::string> out;
    for (const Question& one : q.all) out.push_back(one.answer);
    return out;
  }
  // What ends the reading whatever the number of rejects that are allowed.
  std::string refusal(const std::string& tasks_json) {
    try {
      read(tasks_json);
    } catch (const Rejected&) { FAIL("a reject got past its handler"); } catch (const Error& e) {
      CHECK(e.exit() == Exit::wrong_input);
      CHECK(std::string(e.what()).find('\n') == std::string::npos);
      return e.what();
    }
    return "";
  }
  std::vector<std::string> rejects;

 private:
  DataSet data_;
};

std::string question(const std::string& id, const Json& category, const std::string& text, const std::string& answer) {
  return Json::object({{"id", id},
                       {"image", "a.png"},
                       {"category", category},
                       {"template", "t"},
                       {"question", text},
                       {"answer", answer}})
             .dump() +
         "\n";
}

const char* two_categories = R"({"categories": {"OCR": {"scorer": "exact"}, "Science": {"scorer": "exact"}}})";

}  // namespace

TEST_CASE("questions: a category that the tasks do not list is refused with file, line and the nearest name") {
  const std::string good = question("1", "OCR", "q", "a") + question("2", "Science", "q", "b");
  Held held(good + question("3", "Sience", "q", "c"));
  CHECK(held.refusal(two_categories) == cat(held.path("."), "/q.jsonl:3: category 'Sience' is not one of ",
                                            held.path("tasks.json"), "; did you mean 'Science'?"));
  Held none(good + question("3", "", "q", "c"));
  CHECK(contains(none.refusal(two_categories), "q.jsonl:3: category '' is not one of "));
  Held fine(good);
  CHECK(fine.read(two_categories) == std::vector<std::string>{"a", "b"});  // the twin
  CHECK(fine.rejects.empty());
}

TEST_CASE(
    "questions: a category of the tasks without a question is refused with the tasks' file and the nearest name") {
  Held held(question("1", "OCR", "q", "a"));
  CHECK(contains(held.refusal(two_categories), "tasks.json: category 'Science': no question in "));
  CHECK(
      contains(held.refusal(R"({"categories": {"OCX": {"scorer": "exact"}, "OCR": {"scorer": "exact"}}})"),
               "tasks.json: category 'OCX': no question in " + held.path(".") + " belongs to it; did you mean 'OCR'?"));
  CHECK(held.refusal(R"({"categories": {"OCR": {"scorer": "exact"}}})") == "");
}

TEST_CASE("questions: commonest answers are read where they are; a file of them that is damaged is refused by name") {
  Held held(question("1", "OCR", "q", "a") + question("2", "Science", "q", "b"));
  const std::string file = held.path("commonest_answers.json");
  write_durably(file, R"({"t": {"answer": "a"}})");
  CHECK(held.commonest(two_categories) == 1);
  write_durably(file, R"({"t": "a"})");
  CHECK(contains(held.refusal(two_categories), "commonest_answers.json: 't': expected an object"));
  std::filesystem::remove(file);
  CHECK(held.commonest(two_categories) == 0);
}

TEST_CASE("questions: a tasks file that cannot be one is refused with its name and the place in it") {
  const Held held("");
  const auto refusal = [&](const std::string& json) {
    const std::string message = message_of([&] { held.tasks(json); });
    CHECK(contains(message, held.path("tasks.json")));
    return message;
  };
  CHECK(contains(refusal("{}"), "categories"));
  CHECK(contains(refusal(R"({"categories": {}})"), "categories: expected at least one"));
  CHECK(contains(refusal(R"({"categories": {"OCR": "exact"}})"), "category 'OCR': expected an object"));
  CHECK(contains(refusal(R"({"categories": {"OCR": {}}})"), "scorer"));
  CHECK(contains(refusal(R"({"categories": {"OCR": {"scorer": "exakt"}}})"), "category 'OCR': unknown scorer 'exakt'"));
  CHECK(contains(refusal(R"({"categories": {"OCR": {"scorer": "exact", "templates": {"t": "iuo"}}}})"),
                 "category 'OCR': template 't': unknown scorer 'iuo'; did you mean 'iou'?"));
  CHECK(contains(refusal(R"({"categories": {"OCR": {"scorer": "exact", "scorers": 1}}})"), "unknown key 'scorers'"));
  CHECK(contains(refusal("{\"categories\": {\"OCR\": \n"), "tasks.json:"));
}

TEST_CASE("questions: empty questions and answers and a category that is no string are counted; the others are asked") {
  Held held(question("1", "OCR", "q", "a") + question("2", "OCR", "", "b") + question("3", "OCR", " \n", "c") +
            question("4", "OCR", "q", "") + question("5", "OCR", "q", "  ") + question("6", 7, "q", "d") +
            question("7", "OCR", "q", "e"));
  CHECK(held.read(R"({"categories": {"OCR": {"scorer": "exact"}}})") == std::vector<std::string>{"a", "e"});
  REQUIRE(held.rejects.size() == 5);
  CHECK(contains(held.rejects[0], "empty_text | "));
  CHECK(contains(held.rejects[0], "q.jsonl:2: the question is empty"));
  CHECK(contains(held.rejects[1], "empty_text | "));
  CHECK(contains(held.rejects[2], "no_answer | "));
  CHECK(contains(held.rejects[2], "q.jsonl:4: '' is no answer for scorer exact"));
  CHECK(contains(held.rejects[3], "no_answer | "));
  CHECK(contains(held.rejects[4], "malformed_record | "));
  CHECK(contains(held.rejects[4], "q.jsonl:6: expected a string 'category', found 7"));
}

TEST_CASE("eval: an error in the file of categories names its place") {
  const Held held("");
  const std::pair<const char*, const char*> faults[] = {
      {R"([])", ": expected an object, found an array"},
      {R"({})", ": key 'categories' is missing"},
      {R"({"categories": 7})", ": categories: expected an object, found an integer"},
      {R"({"categories": {"A": 7}})", ": category 'A': expected an object"},
      {R"({"categories": {"A": {}}})", ": category 'A': scorer: expected a text, found nothing"},
      {R"({"categories": {"A": {"scorer": 7}}})", ": category 'A': scorer: expected a text, found 7"},
      {R"({"categories": {"A": {"scorer": "exact", "templates": 7}}})",
       ": category 'A': templates: expected an object"},
      {R"({"categories": {"A": {"scorer": "exact", "templates": {"t": 7}}}})",
       ": category 'A': template 't': scorer: expected a text, found 7"},
      {R"({"categories": {"A": {"scorer": "exact"}}, "grey": "x"})", ": grey: expected 0 to 255, found \"x\""}};
  for (const auto& fault : faults) {
    std::string said;
    try {
      held.tasks(fault.first);
    } catch (const Error& e) { said = e.what(); }
    CHECK_MESSAGE(said.find(std::string("tasks.json") + fault.second) != said.npos, said);
  }
}
