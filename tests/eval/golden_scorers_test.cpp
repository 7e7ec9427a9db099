// The public tasks' scorers beside lmms-eval 0.7.3: every file of tests/golden/scorers, every case, every aggregate.
//
// A file is {"cases": [...], "aggregates": {...}}; its name is the task's. A case holds what went in and what came out;
// "x_direct" is x of the scorer alone, without filter and removal of reasoning. An aggregate is a metric, by subsets of
// the cases, or a small table with a shape of its own; a table that no test here knows is a fault.
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "../check.h"
#include "base/io/mapped_file.h"
#include "eval/scorers/boxes.h"
#include "eval/scorers/math_tasks.h"
#include "eval/scorers/statistics.h"
#include "eval/scorers/words.h"

using namespace ov;
using namespace ov::public_tasks;
using python::text;
using python::utf8;

namespace {

const std::string folder = "tests/golden/scorers/";

// Values of their files: numbers by value, whatever their type; lists of an open question's answers in any order.
bool same(const Json& ours, const Json& theirs) {
  if (ours.is_number() && theirs.is_number()) return ours.as_double() == theirs.as_double();
  if (ours.kind() != theirs.kind()) return false;
  if (ours.is_array()) {
    if (ours.size() != theirs.size()) return false;
    for (std::size_t i = 0; i < ours.size(); ++i)
      if (!same(ours[i], theirs[i])) return false;
    return true;
  }
  if (ours.is_object()) {
    for (const auto& [key, value] : theirs.members()) {
      const Json* own = ours.find(key);
      if (!own || !same(*own, value)) return false;
    }
    return true;
  }
  return ours.dump() == theirs.dump();
}

// What a case's fields mean where a scorer gives none of that name.
const std::set<std::string> inputs = {"prediction", "answer", "doc", "id", "choices", "tags", "values", "clusters", "judge_reply"};

std::string expand(const std::string& name, const Json& aggregates, Json& line) {  // options kept once for all cases
  Json doc = line.find("doc") ? line.at("doc") : Json();
  if (!doc.is_object()) return name;
  if (const Json* options = doc.find("options"); options && options->is_string())
    if (const Json* list = aggregates.find(options->as_string())) doc.set("options", *list), line.set("doc", doc);
  return name;
}

struct Count {
  std::size_t compared = 0, wrong = 0;
};

void compare(Count& count, const std::string& file, const Json& line, const std::string& key, const Json* ours,
             const Json& theirs) {
  ++count.compared;
  if (ours && same(*ours, theirs)) return;
  ++count.wrong;
  MESSAGE(file, ": ", key, ": expected ", theirs.shown(), ", found ", ours ? ours->shown() : "nothing", " in ", line.shown(300));
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

// --- tables with a shape of their own, by the name of the file and the beginning of theirs
using Table = void (*)(Count&, const Json&, const Json& golden, const Lines&);

Json options_doc(const Json& options) {
  Json doc = Json::object();  // an option that the document lacks stays out
  for (std::size_t i = 0; i < options.size(); ++i) doc.set(std::string(1, static_cast<char>('A' + i)), options[i]);
  return doc;
}

void check_rows(Count& count, const Json& table, const Json&, const Lines&) {  // mmbench
  const Task& task = task_named("mmbench");
  Lines lines;
  for (const Json& row : table.at("rows").items()) {
    Json doc = options_doc(row.at("options"));
    for (const char* key : {"index", "category", "L2-category"})
      if (const Json* value = row.find(key)) doc.set(key, *value);
    lines.push_back(score_line(
        task, Json::object({{"prediction", row.at("prediction")}, {"answer", row.at("answer")}, {"doc", doc}}), Compat::lmms));
  }
  const Json metrics = task.metrics(lines, Compat::lmms);
  compare(count, "mmbench", table, "overall", metrics.at("overall").find("value"), table.at("overall"));
  for (const char* key : {"category", "l2_category"})
    if (const Json* shares = table.find(key))
      for (const auto& [name, share] : shares->members()) {
        const Json* own = metrics.at(key).find(name);
        compare(count, "mmbench", table, name, own ? own->find("value") : nullptr, share);
      }
  if (const Json* percent = table.find("metric gpt_eval_score"))
    compare(count, "mmbench", table, "gpt_eval_score", metrics.at("gpt_eval_score").find("value"), *percent);
}

// Their totals live in the module and double; ours must not.
void check_twice(Count& count, const Json& table, const Json& golden, const Lines& all) {
  Lines lines;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (golden.at("cases")[i].find("score")) lines.push_back(all[i]);
  const auto once = [&] {
    return task_named("ocrbench").metrics(lines, Compat::lmms).at("ocrbench_accuracy").at("value").as_double();
  };
  const double first = once();
  const Json doubled = 2 * once();
  CHECK(first == doubled.as_double() / 2);
  compare(count, "ocrbench", golden.at("scorer"), "a second time", &doubled, table.at("value"));
}

void check_mmmu_several(Count& count, const Json& table, const Json&, const Lines&) {
  for (const Json& row : table.items()) {
    Json doc = Json::object({{"question_type", "multiple-choice"}, {"options", row.at("options")}});
    const Json out = score_line(task_named("mmmu"),
                                Json::object({{"predictions", row.at("predictions")}, {"answer", row.at("answer")}, {"doc", doc}}),
                                Compat::lmms);
    for (const char* key : {"score", "parsed"}) compare(count, "mmmu", row, key, out.find(key), row.at(key));
  }
}
void check_subjects(Count& count, const Json& table, const Json&, const Lines&) {
  for (const Json& row : table.items()) {
    const std::string own = subject_of(row.at("id").as_string());
    const Json shown = own.empty() ? "ValueError" : own;
    compare(count, "mmmu", row, "subset", &shown, row.at("subset"));
  }
}
void check_anls(Count& count, const Json& table, const Json&, const Lines&) {
  for (const Json& row : table.items()) {
    std::vector<Text> references;
    for (const Json& r : row.at("references").items()) references.push_back(text(r.as_string()));
    const Json own = anls(references, text(row.at("prediction").as_string()), row.at("threshold").as_double());
    compare(count, "anls", row, "anls", &own, row.at("anls"));
  }
}
void check_find_answer(Count& count, const Json& table, const Json&, const Lines&) {
  for (const Json& row : table.items()) {
    const Json own = utf8(find_math_answer(text(row.at("text").as_string())));
    compare(count, "mathvision", row, "find_math_answer", &own, row.at("value"));
  }
}
void check_equal(Count& count, const Json& table, const Json&, const Lines&) {
  for (const Json& row : table.items()) {
    const Json own = mathvision_equal(text(row.at("a").as_string()), text(row.at("b").as_string()), Compat::lmms);
    compare(count, "mathvision", row, "is_equal", &own, row.at("equal"));
  }
}
void check_normalised(Count& count, const Json& table, const Json&, const Lines&, const std::string& name) {
  std::vector<Text> choices;  // named in the table's own name: "..., choices [cat, dog, tree]"
  const std::string inside = name.substr(name.find('[') + 1, name.find(']') - name.find('[') - 1);
  for (const Text& choice : python::split(text(inside), U", ")) choices.push_back(choice);
  for (const Json& row : table.items()) {
    const auto own = mathvista_form(text(row.at("extraction").as_string()), choices, row.at("question_type").as_string(),
                                    row.at("answer_type").as_string(), row.at("precision"));
    const Json shown = own ? Json(utf8(*own)) : Json();
    compare(count, "mathvista", row, "normalised", &shown, row.at("value"));
  }
}
void check_parse_mcq(Count& count, const Json& table, const Json&, const Lines&) {
  for (const Json& row : table.items()) {
    const Json own = utf8(parse_mcq(text(row.at("text").as_string())));
    compare(count, "reasoning", row, "letter", &own, row.at("letter"));
  }
}
void check_extract(Count& count, const Json& table, const Json&, const Lines&) {
  for (const Json& row : table.items()) {
    const Text s = text(row.at("text").as_string());
    const Json boxed = utf8(boxed_answer(s)), answer = utf8(answer_tag(s)), format = format_reward(s);
    compare(count, "reasoning", row, "boxed", &boxed, row.at("boxed"));
    compare(count, "reasoning", row, "answer", &answer, row.at("answer"));
    compare(count, "reasoning", row, "format", &format, row.at("format"));
  }
}
void check_wemath(Count& count, const Json& table, const Json&, const Lines&) {
  for (const Json& row : table.items()) {
    Lines lines;
    for (const Json& r : row.at("records").items())
      lines.push_back(Json::object({{"doc", Json::object({{"ID", r[0]}, {"key", r[1]}})}, {"score", r[2].as_double()}}));
    const Json metrics = task_named("wemath").metrics(lines, Compat::lmms);
    for (const char* key : {"wemath_loose", "wemath_strict"}) {
      const Json* error = metrics.at(key).find("error");
      const Json own = error ? Json("error " + error->as_string()) : metrics.at(key).at("value");
      compare(count, "wemath", row, key, &own, row.at(key));
    }
  }
}
void check_mme_small(Count& count, const Json& table, const Json&, const Lines&) {
  for (const Json& row : table.items()) {
    Lines lines;
    for (const Json& r : row.at("records").items())
      lines.push_back(Json::object({{"doc", r}, {"score", r.at("score")}}));
    const Json metrics = task_named("mme").metrics(lines, Compat::lmms);
    const Json own = metrics.at("mme_perception_score").at("value").as_double() + metrics.at("mme_cognition_score").at("value").as_double();
    compare(count, "mme", row, "value", &own, row.at("value"));
  }
}
void check_pope_small(Count& count, const Json& table, const Json&, const Lines&) {
  for (const Json& row : table.items()) {
    Lines lines;
    for (const Json& r : row.at("records").items())
      lines.push_back(score_line(task_named("pope"), Json::object({{"answer", r[0]}, {"prediction", r[1]}}), Compat::lmms));
    const Json metrics = task_named("pope").metrics(lines, Compat::lmms);
    for (const auto& [key, value] : row.members())
      if (key != "records") compare(count, "pope", row, key, metrics.at("pope_" + key).find("value"), value);
  }
}
void check_groups(Count& count, const Json& table, const Json&, const Lines&) {
  const auto numbers = [](const Json& list) {
    Values out;
    for (const Json& v : list.items()) out.push_back(v.as_double());
    return out;
  };
  for (const Json& row : table.items()) {
    const Values sizes = numbers(row.at("sizes")), metrics = numbers(row.at("metrics"));
    const Json pooled = pooled_stderr(numbers(row.at("stderrs")), sizes), weighted = weighted_mean(metrics, sizes), plain = mean(metrics);
    compare(count, "aggregation", row, "pooled", &pooled, row.at("pooled_sample_stderr"));
    compare(count, "aggregation", row, "weighted", &weighted, row.at("weighted_mean"));
    compare(count, "aggregation", row, "unweighted", &plain, row.at("unweighted_mean"));
  }
}

void check_raised(Count& count, const Json& aggregate, const Json&, const Lines& lines) {
  const Json* raised = nullptr;
  for (const Json& line : lines)
    if (line.find("error")) raised = line.find("error");
  compare(count, "refcoco_rec", aggregate, "error", raised, aggregate.at("error"));
}
void check_pairs(Count& count, const Json& table, const Json&, const Lines&) {
  for (const Json& row : table.items()) {
    const Json line = score_line(task_named("refcoco_rec"),
                                 Json::object({{"answer", row.at("gold")}, {"prediction", row.at("pred").dump()}}), Compat::lmms);
    const Json center = row.at("center").as_bool() ? 1.0 : 0.0;
    compare(count, "refcoco_rec", row, "iou", line.at("metrics").find("IoU"), row.at("iou"));
    compare(count, "refcoco_rec", row, "center", line.at("metrics").find("Center_ACC"), center);
  }
}
void check_pixels(Count& count, const Json& table, const Json&, const Lines&) {
  for (const Json& row : table.items()) {
    Box box;
    for (std::size_t i = 0; i < box.size(); ++i) box[i] = row.at("xywh")[i].as_double();
    Json own = Json::array();
    for (const double v : shares_of_picture(box, row.at("width").as_double(), row.at("height").as_double())) own.push(v);
    compare(count, "refcoco_rec", row, "bbox", &own, row.at("bbox"));
  }
}

const std::pair<const char*, Table> tables[] = {
    {"refcoco_rec/with a case whose union", check_raised},
    {"refcoco_rec/pairs", check_pairs},
    {"refcoco_rec/pixels", check_pixels},
    {"mmbench/circular", check_rows},
    {"mmbench/missing_option", check_rows},
    {"ocrbench/called a second time", check_twice},
    {"mmmu/several replies", check_mmmu_several},
    {"mmmu/subject_names", check_subjects},
    {"docvqa/other_thresholds", check_anls},
    {"infovqa/other_thresholds", check_anls},
    {"mathvision/find_math_answer", check_find_answer},
    {"mathvision/is_equal", check_equal},
    {"reasoning/parse_mcq", check_parse_mcq},
    {"reasoning/extract", check_extract},
    {"reasoning/wemath", check_wemath},
    {"mme/small", check_mme_small},
    {"pope/small", check_pope_small},
    {"aggregation/groups", check_groups},
};

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
    const auto* table = std::find_if(std::begin(tables), std::end(tables), [&](const auto& t) { return place.starts_with(t.first); });
    if (table != std::end(tables)) table->second(count, aggregate, golden, lines);
    else if (place.starts_with("mathvista/normalize_extracted_answer")) check_normalised(count, aggregate, golden, lines, name);
    else if (aggregate.is_boolean()) continue;  // a remark
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
