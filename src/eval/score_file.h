// Stored answers to a public task, scored: `eval --score FILE --tasks NAME --out OUT`.
//
// FILE is JSON lines, one case a line ({"prediction", "answer", "doc"}, eval/scorers/task.h), or one object with the
// cases under "cases" (texts that many cases share may stand under "aggregates", named by doc.options), or lines that
// lmms-eval wrote with --log_samples ({"resps" or "filtered_resps", "target"}).
//
//   OUT                 the same lines with what scoring adds. A directory: <date>_samples_<task>.jsonl in it
//   OUT.results.json    metrics as lmms-eval writes them: {"results": {task: {"metric,filter", ...}}, "n-samples",
//   <date>_results.json ...}, and in full under "tasks", with the lines at which their code raises ("errors", scored as
//                       wrong) and those that only a judge could score ("asked_judge", not scored); "compat": the rules
#pragma once
#include <string>

#include "eval/scorers/task.h"

namespace ov {

struct ScoreFileOptions {
  std::string file, task, out;
  std::string compare = {};  // lines of another run, scored; empty: none
  public_tasks::Compat compat = public_tasks::Compat::lmms;
};

// A task that was scored: what its lines came to, under the name that the results have.
struct ScoredTask {
  std::string name;
  const public_tasks::Task* task = nullptr;
  public_tasks::Lines lines;
  std::int64_t of = 0;  // documents that there were; 0: as many as lines
};
// As lmms-eval has it: {"results": {name: {"metric,filter" ...}}, "n-samples", "configs", ...}, and under "tasks" for
// each name {"metrics", "errors", "asked_judge", "failed"} in full.
Json results_json(const std::vector<ScoredTask>& tasks, public_tasks::Compat compat);

// What the results file holds. Throws input_error that names file and line: no JSON, a field that the task needs.
Json score_file(const ScoreFileOptions& options);
// For a terminal. Also of a results file that lmms-eval wrote. Throws input_error for anything else.
std::string score_text(const Json& results);

// {"n", "first", "second", "only_first", "only_second", "p"}: McNemar's test over the lines whose "id" is in both
// (lines without one pair by their order). Throws input_error when none is.
Json compare_runs(const public_tasks::Lines& first, const public_tasks::Lines& second, const std::string& names);
std::string compare_text(const Json& comparison);
public_tasks::Lines read_lines(const std::string& path);

}  // namespace ov
