// The public tasks' scorers beside lmms-eval 0.7.3: every file of tests/golden/scorers, every case, every aggregate.
//
// A file is {"cases": [...], "aggregates": {...}}; its name is the task's. A case holds what went in and what came out;
// "x_direct" is x of the scorer alone, without filter and removal of reasoning. An aggregate is a metric, by subsets of
// the cases, or a small table with a shape of its own; a table that no test here knows is a fault.
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "base/io/mapped_file.h"
#include "eval/scorers/statistics.h"
#include "eval/scorers/words.h"
#include "tests/check.h"
#include "tests/eval/golden_tables.h"

using namespace ov;
using namespace ov::public_tasks;
using namespace ov::test;
using python::text;
using python::utf8;

namespace {

const std::string folder = "tests/golden/scorers/";

// What a case's fields mean where a scorer gives none of that name.
const std::set<std::string> inputs = {"prediction", "answer", "doc",      "id",         "choices",
                                      "tags",       "values", "clusters", "judge_reply"};

std::string expand(const std::string& name, const Json& aggregates, Json& line) {  // options kept once for all cases
  Json doc = line.find("doc") ? line.at("doc") : Json();
  if (!doc.is_object()) return name;
  if (const Json* options = doc.find("options"); options && options->is_string())
    if (const Json* list = aggregates.find(options->as_string())) doc.set("options", *list), line.set("doc", doc);
  return name;
}

// The letter tasks say for which golds a reply would have been right.
Json with_gold(const Json& line, const std::string& gold) {
  Json out = line;
  out.set("answer", gold);
  return out;
}

Lines score_cases(const std::string& file, const Json& golden, const Task& task, Count& count) {
  Lines lines;
  for (const Json& given : golden.at("cases").items()) {
    Json in = Json::object();
    for (const auto& [key, value] : given.members())
      if (inputs.contains(key)) in.set(key, value);
    expand(file, golden.at("aggregates"), in);
    const Json out = score_line(task, in, Compat::lmms), direct = score_line(task, in, Compat::lmms, true);
    for (const auto& [key, theirs] : given.members()) {
      if (inputs.contains(key)) continue;
      if (key == "by" || key.starts_with("with_")) continue;  // words about the rule; options that have their own test
      if (key == "accepts") {
        std::set<std::string> accepts;
        for (const Json& g : theirs.items()) accepts.insert(g.as_string());
        for (const Text& letter : letters(4)) {
          const Json other = score_line(task, with_gold(in, utf8(letter)), Compat::lmms);
          compare(count, file, in, "accepts " + utf8(letter), other.find("score"),
                  Json(accepts.contains(utf8(letter)) ? 1.0 : 0.0));
        }
      } else if (key == "score_0_7_2") {
        compare(count, file, in, key, score_line(task, in, Compat::fixed).find("score"), theirs);
      } else if (key.ends_with("_direct")) {
        const bool random = theirs.is_string() && theirs.as_string() == "?";  // drawn there, null here
        compare(count, file, in, key, direct.find(key.substr(0, key.size() - 7)), random ? Json() : theirs);
      } else {
        compare(count, file, in, key, out.find(key), theirs);
      }
    }
    if (out.find("asks_judge") && !out.find("score")) CHECK_FALSE(given.find("score"));
    lines.push_back(out);
  }
  return lines;
}

bool is_metric(const Json& aggregate) {
  return aggregate.is_object() && (aggregate.find("all") || aggregate.find("value") || aggregate.find("error"));
}

// {"all": {...}, "first_10": {"cases": [...], "value": v}}, or {"cases", "value"} alone.
void check_metric(Count& count, const std::string& file, const std::string& name, const Json& aggregate,
                  const Json& golden, const Lines& lines, const Task& task) {
  std::vector<std::pair<std::string, Json>> subsets;
  if (aggregate.find("all"))
    for (const auto& [subset, value] : aggregate.members()) subsets.emplace_back(subset, value);
  else subsets.emplace_back("all", aggregate);
  const std::string metric = name.substr(0, name.find(" ("));  // "(not used by any task)"
  for (const auto& [subset, expected] : subsets) {
    Lines chosen;
    const Json* cases = expected.find("cases");
    if (cases && cases->size())
      for (const Json& i : cases->items()) chosen.push_back(lines[static_cast<std::size_t>(i.as_int())]);
    else
      for (std::size_t i = 0; i < lines.size(); ++i)
        if (golden.at("cases")[i].find("score")) chosen.push_back(lines[i]);
    const Json metrics = task.metrics(chosen, Compat::lmms);
    const Json* own = metrics.find(metric);
    if (!own) own = metrics.find(std::string(task.name) + "_" + metric);
    for (const char* part : {"value", "mean", "n", "stderr", "error"})
      if (const Json* theirs = expected.find(part))
        compare(count, file, Json(subset), name + "." + part, own ? own->find(part) : nullptr, *theirs);
  }
}

// Aggregates over documents that the table does not give: no documents, an odd one, a type that nobody knows.
Lines documents_of(const std::string& name, const Lines& lines) {
  if (name.starts_with("empty") || name.starts_with("no documents")) return {};
  if (name.starts_with("odd number")) return {lines.begin(), lines.begin() + 1};
  Json other = lines.at(0);
  other.set("doc", Json::object({{"question_type", "nobody knows this"}}));
  return {other};
}

void check_aggregates(Count& count, const std::string& file, const Json& golden, const Lines& lines, const Task* task) {
  for (const auto& [name, aggregate] : golden.at("aggregates").members()) {
    const std::string place = file + "/" + name;
    if (check_table(count, place, aggregate, golden, lines)) continue;
    if (aggregate.is_boolean()) continue;                                            // a remark
    else if (aggregate.is_array() && place.find("OPTIONS") != place.npos) continue;  // not a result: the cases' options
    else if (is_metric(aggregate) && (aggregate.find("all") || aggregate.find("cases")))
      check_metric(count, file, name, aggregate, golden, lines, *task);
    else if (is_metric(aggregate)) {  // one value, of other documents
      const Json metrics = task->metrics(documents_of(name, lines), Compat::lmms);
      const char* part = aggregate.find("error") ? "error" : "value";
      const Json* own = metrics.members().empty() ? nullptr : metrics.members()[0].second.find(part);
      for (const auto& [metric, value] : metrics.members())
        if (value.find(part) && same(*value.find(part), aggregate.at(part))) own = value.find(part);
      compare(count, file, Json(name), name, own, aggregate.at(part));
    } else {
      FAIL_CHECK(place << ": a table that this test does not know");
    }
  }
}

void check_statistics(Count& count, const Json& golden) {
  for (const Json& row : golden.at("cases").items()) {
    Values values;
    std::vector<std::int64_t> clusters;
    for (const Json& v : row.at("values").items()) values.push_back(v.as_double());
    for (const Json& c : row.at("clusters").items()) clusters.push_back(c.as_int());
    Values sorted = values;
    std::sort(sorted.begin(), sorted.end());
    const std::map<std::string, Json> own = {{"mean", mean(values)},
                                             {"median", sorted[values.size() / 2]},
                                             {"mean_stderr", mean_stderr(values)},
                                             {"stderr_clt", stderr_clt(values)},
                                             {"clustered_stderr", clustered_stderr(values, clusters)}};
    for (const auto& [key, value] : own)
      if (const Json* theirs = row.find(key)) compare(count, "aggregation", row, key, &value, *theirs);
  }
}

}  // namespace

TEST_CASE("golden scorers: every file, every case, every aggregate is lmms-eval's") {
  std::size_t files = 0, cases = 0;
  for (const std::string& name : list_directory(folder)) {
    if (!name.ends_with(".json")) continue;
    const Json golden = Json::read(folder + name);
    if (!golden.find("cases")) continue;  // prompts
    const std::string file = name.substr(0, name.size() - 5);
    CAPTURE(file);
    Count count;
    ++files, cases += golden.at("cases").size();
    if (golden.at("cases").size() && golden.at("cases")[0].find("values")) {
      check_statistics(count, golden);
      check_aggregates(count, file, golden, {}, nullptr);
    } else {
      const Task& task = task_named(file);
      const Lines lines = score_cases(file, golden, task, count);
      check_aggregates(count, file, golden, lines, &task);
    }
    CHECK(count.compared > 0);
    CHECK(count.wrong == 0);
  }
  CHECK(files > 0);
  CHECK(cases > 0);
}

TEST_CASE("golden scorers: exact match with each of its options") {
  std::size_t compared = 0;
  const std::pair<const char*, ExactMatch> options[] = {
      {"with_plain", {}},
      {"with_case", {.ignore_case = true}},
      {"with_punctuation", {.ignore_punctuation = true}},
      {"with_numbers", {.ignore_numbers = true}},
      {"with_regex", {.ignore = {python::Regex(UR"(\s+)"), python::Regex(U"^the ")}}}};
  const Json golden = Json::read(folder + "exact_match.json");
  for (const Json& row : golden.at("cases").items())
    for (const auto& [key, option] : options) {
      if (!row.find(key)) continue;
      ++compared;
      const Text reply = python::strip(without_reasoning(text(row.at("prediction").as_string())));
      INFO(key, " ", row.dump());
      CHECK(exact_match(reply, text(row.at("answer").as_string()), option) == (row.at(key).as_double() == 1));
    }
  CHECK(compared > 0);
}

TEST_CASE("golden scorers: white space, numbers and capitals are Python's") {
  const auto number = [](python::View s) { return python::to_float(s).value_or(-1); };
  for (const char32_t c : {U'\x1c', U'\x1f', U'\x85', U'\u00a0', U'\u3000', U'\u2028'}) CHECK(python::is_space(c));
  for (const char32_t c : {U'\u200b', U'\u180e', U'\ufeff', U'\x1b'}) CHECK_FALSE(python::is_space(c));
  CHECK(number(U"\u2003\u0661.5\u3000") == 1.5);
  CHECK(number(U"1_0e1_0") == 1e11);
  for (const python::View no : {U"\x1c1", U"1__0", U"_1", U"0x10", U"1e", U".", U""}) CHECK(number(no) == -1);
  CHECK(python::utf8(python::lower(U"\u039f\u03a3 \u0130")) == "\u03bf\u03c2 i\u0307");
  CHECK(python::repr(1e16) == "1e+16");
  CHECK(python::repr(2) == "2.0");
}
