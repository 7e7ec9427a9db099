#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/io/file.h"
#include "base/progress.h"
#include "cli/verbs.h"
#include "eval/evaluate.h"
#include "eval/score_file.h"
#include "generate/generate.h"
#include "serve/askers.h"
#include "train/stages/model_directory.h"

namespace ov::cli {
namespace {

public_tasks::Compat compat(const Config& config) {
  return config.text("eval.compat") == "fixed" ? public_tasks::Compat::fixed : public_tasks::Compat::lmms;
}

// Whether the tasks are public ones, by name or on data of one's own, and not the categories of a file.
bool are_public(const std::string& tasks) {
  std::error_code missing;
  if (!std::filesystem::is_regular_file(tasks, missing)) return !tasks.ends_with(".json");
  const Json file = Json::read(tasks);
  return file.is_object() && file.find("tasks");
}

struct Bar {
  std::function<void(std::int64_t, std::int64_t)> update = [this](std::int64_t done, std::int64_t total) {
    if (!bar) bar.emplace("eval", total, "answer", done);
    bar->update(done);
  };
  std::optional<Progress> bar;
};

Exit ask(const Config& config, const Asker& asker, const std::string& name, const std::string& from) {
  Bar bar;
  const Json results = ask_tasks(asker, {.tasks = config.required("eval.tasks"),
                                         .data = config.text("eval.data"),
                                         .split = config.text("eval.split"),
                                         .out = config.required("out"),
                                         .model = name,
                                         .limit = config.integer("eval.limit"),
                                         .compat = compat(config),
                                         .compare = config.text("eval.compare"),
                                         .from = from,
                                         .progress = bar.update});
  if (bar.bar) bar.bar->finish();
  print(score_text(results));
  if (const Json* resumed = results.find("resumed"))
    print(cat(resumed->as_int(), " answers were there from a run that was cut\n"));
  std::int64_t failed = 0;
  for (const auto& [task, full] : results.at("tasks").members()) failed += full.at("failed").as_int();
  if (failed > 0)
    machine_error(failed,
                  " requests got no answer; the samples say why (\"failed\"), and the same command asks them again");
  return Exit::done;
}

}  // namespace

Exit eval(const Config& config) {
  const std::string &answers = config.text("eval.score"), &compare = config.text("eval.compare");
  if (!answers.empty()) {
    print(score_text(score_file({.file = answers,
                                 .task = config.required("eval.tasks"),
                                 .out = output(config, "\"score\""),
                                 .compare = compare,
                                 .compat = compat(config)})));
    return Exit::done;
  }
  const std::string &tasks = config.required("eval.tasks"), &url = config.text("eval.url"),
                    &key = config.text("serve.api_key"), &name = config.text("serve.name");
  if (!url.empty()) {
    if (!are_public(tasks)) input_error("--url: expected public tasks, found the categories of ", tasks);
    return ask(config, serve::asker_at(url, key, config.integer("eval.at_once")), name, url);
  }
  use_threads(config);
  const std::string& directory = config.required("model.dir");
  const std::string& out = config.required("out");
  const std::string& expected_file = config.text("eval.expected");
  const std::string expected = expected_file.empty() ? "" : read_expected_sha256(expected_file);
  const ModelFiles files = open_model_files(directory, load_options(config));
  const auto stop = read_stop_ids(directory, files.processor.stop_ids(), files.config.text.vocabulary);
  if (are_public(tasks)) {
    const auto model = load_model(files.config, directory, load_options(config));
    const Processor processor = files.processor.with_limits(picture_options(config));
    const serve::Service service{
        .config = files.config, .processor = processor, .stop = stop, .otherwise = read_sampling(directory)};
    Engine engine(*model, EngineOptions{});
    return ask(config, serve::asker_here(service, engine, config.integer("eval.at_once")),
               config.given("serve.name") ? name : without_slash(directory),
               cat(directory, ", ", model_sha256(directory)));
  }
  EvalOptions options{.data = config.required("eval.data"),
                      .tasks = tasks,
                      .limits = picture_options(config),
                      .max_new_tokens = config.integer("generate.max_new_tokens"),
                      .stop = stop,
                      .limit = config.integer("eval.limit"),
                      .max_rejects = config.integer("data.max_rejects")};
  // What can be wrong with files is told before the first question.
  make_directories(out);
  if (::access(out.c_str(), W_OK | X_OK) != 0) machine_error(out, ": cannot write there: ", std::strerror(errno));
  if (!compare.empty()) read_lines(compare);
  const auto model = load_model(files.config, directory, load_options(config));
  Bar bar;
  options.progress = bar.update;
  const Evaluation evaluation = evaluate(*model, files.processor, options);
  if (bar.bar) bar.bar->finish();

  const Json result = write_evaluation(evaluation, model_sha256(directory), expected, out);
  print(evaluation_text(result));
  if (!compare.empty())
    print(compare_text(compare_runs(read_lines(out + "/predictions.jsonl"), read_lines(compare), compare)));
  return Exit::done;
}

}  // namespace ov::cli
