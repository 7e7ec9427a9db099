#include "base/progress.h"
#include "cli/verbs.h"
#include "eval/evaluate.h"
#include "eval/score_file.h"
#include "generate/generate.h"
#include "train/stages/model_directory.h"

namespace ov::cli {

Exit eval(const Config& config) {
  const std::string &answers = config.text("eval.score"), &compare = config.text("eval.compare");
  const bool fixed = config.text("eval.compat") == "fixed";
  if (!answers.empty()) {
    print(score_text(score_file({.file = answers,
                                 .task = config.required("eval.tasks"),
                                 .out = output(config, "\"score\""),
                                 .compare = compare,
                                 .compat = fixed ? public_tasks::Compat::fixed : public_tasks::Compat::lmms})));
    return Exit::done;
  }
  use_threads(config);
  const std::string& directory = config.required("model.dir");
  const std::string& out = config.required("out");
  const std::string& expected_file = config.text("eval.expected");
  const std::string expected = expected_file.empty() ? "" : read_expected_sha256(expected_file);
  const ModelFiles files = open_model_files(directory, load_options(config));
  EvalOptions options{.data = config.required("eval.data"),
                      .tasks = config.required("eval.tasks"),
                      .limits = picture_options(config),
                      .max_new_tokens = config.integer("generate.max_new_tokens"),
                      .stop = read_stop_ids(directory, files.processor.stop_ids(), files.config.text.vocabulary),
                      .limit = config.integer("eval.limit"),
                      .max_rejects = config.integer("data.max_rejects")};
  const auto model = load_model(files.config, directory, load_options(config));

  std::optional<Progress> bar;
  options.progress = [&](std::int64_t done, std::int64_t total) {
    if (!bar) bar.emplace("eval", total, "answer", done);
    bar->update(done);
  };
  const Evaluation evaluation = evaluate(*model, files.processor, options);
  if (bar) bar->finish();

  const Json result = write_evaluation(evaluation, model_sha256(directory), expected, out);
  print(evaluation_text(result));
  if (!compare.empty())
    print(compare_text(compare_runs(read_lines(out + "/predictions.jsonl"), read_lines(compare), compare)));
  return Exit::done;
}

}  // namespace ov::cli
