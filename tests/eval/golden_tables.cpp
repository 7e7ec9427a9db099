// Tables of the golden files that are no metric over cases: pieces of the scorers with reference values of their own.
#include "tests/eval/golden_tables.h"

#include <algorithm>

#include "eval/scorers/boxes.h"
#include "eval/scorers/math_tasks.h"
#include "eval/scorers/statistics.h"
#include "eval/scorers/words.h"

namespace ov::test {
namespace {

using namespace public_tasks;
using python::text;
using python::utf8;

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
        task, Json::object({{"prediction", row.at("prediction")}, {"answer", row.at("answer")}, {"doc", doc}}),
        Compat::lmms));
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
    const Json out =
        score_line(task_named("mmmu"),
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
    const auto own =
        mathvista_form(text(row.at("extraction").as_string()), choices, row.at("question_type").as_string(),
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
      lines.push_back(
          Json::object({{"doc", Json::object({{"ID", r[0]}, {"key", r[1]}})}, {"score", r[2].as_double()}}));
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
    const Json own = metrics.at("mme_perception_score").at("value").as_double() +
                     metrics.at("mme_cognition_score").at("value").as_double();
    compare(count, "mme", row, "value", &own, row.at("value"));
  }
}
void check_pope_small(Count& count, const Json& table, const Json&, const Lines&) {
  for (const Json& row : table.items()) {
    Lines lines;
    for (const Json& r : row.at("records").items())
      lines.push_back(
          score_line(task_named("pope"), Json::object({{"answer", r[0]}, {"prediction", r[1]}}), Compat::lmms));
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
    const Json pooled = pooled_stderr(numbers(row.at("stderrs")), sizes), weighted = weighted_mean(metrics, sizes),
               plain = mean(metrics);
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
    const Json line =
        score_line(task_named("refcoco_rec"),
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
    for (const double v : shares_of_picture(box, row.at("width").as_double(), row.at("height").as_double()))
      own.push(v);
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

}  // namespace

bool check_table(Count& count, const std::string& place, const Json& table, const Json& golden, const Lines& lines) {
  for (const auto& [begin, check] : tables)
    if (place.starts_with(begin)) return check(count, table, golden, lines), true;
  if (!place.starts_with("mathvista/normalize_extracted_answer")) return false;
  check_normalised(count, table, golden, lines, place);
  return true;
}

}  // namespace ov::test
