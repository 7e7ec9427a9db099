// Public tasks, scored as lmms-eval 0.7.3 scores them: one row of a table a task, one file a family.
//
//   reply -> filter of the task -> reasoning blocks removed, white space stripped -> scorer -> fields of the line
//   lines of a task -> its metrics
//
// A line is a JSON object: "prediction" (what the model said), "answer" (the gold), "doc" (what else the scorer looks
// at). Scoring adds "score" and what the rule found on its way ("parsed" ...). A reply at which their code raises gets
// "error" with the name of Python's exception and counts as wrong; one that only a judge model could score gets
// "asks_judge" and no score. Numbers that JSON lacks are text: "nan", "inf".
#pragma once
#include "base/error.h"
#include "base/json.h"
#include "text/python.h"

namespace ov::public_tasks {

using python::Text;
using python::View;

// lmms: their numbers, faults included. fixed: their plain faults are mended, which the scorers name where they stand.
enum class Compat { lmms, fixed };

struct Raised {
  std::string type;  // of Python's exception
};

// f(), whose errors name the field that it reads.
template <class F>
auto of_field(std::string_view key, F&& f) {
  try {
    return f();
  } catch (const Error& e) { throw Error(e.exit(), cat(key, ": ", e.what())); }
}
inline Text text_of(const Json& line, std::string_view key) {
  const Json& value = line.at(key);
  return of_field(key, [&] { return python::text(value.as_string()); });
}

struct Case {
  const Json& line;
  Text reply;
  Compat compat = Compat::lmms;

  Text gold() const { return text_of(line, "answer"); }
  const Json* doc(std::string_view key) const;
  Text doc_text(std::string_view key) const;  // throws input_error when the document lacks it
};

using Lines = std::vector<Json>;

struct Task {
  std::string_view name;
  Json (*score)(const Case&);             // the fields that a line gets
  Json (*metrics)(const Lines&, Compat);  // {metric: {"mean", "n", "stderr"} or {"value"}}, of scored lines
  Text (*filter)(View reply) = nullptr;
  std::string_view judge = "";  // why this task cannot be scored here
};

const std::vector<Task>& tasks();
// input_error for an unknown name and for a task that needs a judge model or an evaluation server.
const Task& task_named(std::string_view name);

Text without_reasoning(View reply, const std::vector<std::pair<Text, Text>>& tags);
Text without_reasoning(View reply);  // <think> and <analysis>

// The line with the fields that scoring adds. `direct`: the scorer alone, on the reply as it came.
Json score_line(const Task& task, const Json& line, Compat compat, bool direct = false);

// --- what the rows of the table are made of, by file
using Rows = std::vector<Task>;
Rows letter_tasks();   // letters.cpp: ai2d, blink, cv_bench, mme_realworld, mmstar, realworldqa, scienceqa ...
Rows mmbench_tasks();  // mmbench.cpp
Rows mmmu_tasks();     // mmmu.cpp
Rows text_tasks();     // words.cpp: chartqa, docvqa, infovqa, exact match, counting, ocrbench
Rows vqa_tasks();      // vqa.cpp
Rows yes_no_tasks();   // yes_no.cpp: mme, pope
Rows box_tasks();      // boxes.cpp
Rows math_tasks();     // mathvista.cpp, mathvision.cpp, reasoning.cpp
Rows caption_tasks();  // captions.cpp

Text extract_mcq_answer(View response, const std::vector<Text>& choices);
std::vector<Text> letters(std::size_t n);            // A, B ...
std::vector<Text> printed_list(const Text& text);    // of strings, as Python prints it
Text strip_marks(Text text, View marks);             // each mark from both ends, one after the other
std::string subject_of(const std::string& mmmu_id);  // "" where the id has another form
Json number_json(double value);                      // "nan" where JSON has no number

}  // namespace ov::public_tasks
