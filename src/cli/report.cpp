#include "report/report.h"

#include <filesystem>

#include "cli/verbs.h"

namespace ov::cli {
namespace {

// "NAME=path"; to a path without the extension `otherwise` is added.
std::vector<NamedFile> named_files(const Config& config, const char* key, const std::string& extension,
                                   const std::string& otherwise) {
  std::vector<NamedFile> files;
  for (const std::string& item : config.list(key)) {
    const auto equals = item.find('=');
    if (equals == item.npos || equals == 0 || equals + 1 == item.size())
      input_error(key, ": expected NAME=path, found '", item, "'");
    const std::string path = item.substr(equals + 1);
    files.push_back({item.substr(0, equals), path.ends_with(extension) ? path : path + otherwise});
  }
  return files;
}

}  // namespace

Exit report(const Config& config) {
  ReportOptions options{.title = config.text("report.title"),
                        .stages = named_files(config, "report.stages", ".jsonl", "/run.jsonl"),
                        .eval_json = "",
                        .predictions = "",
                        .packs = named_files(config, "report.packs", ".json", ".report.json"),
                        .pictures = config.integer("report.pictures"),
                        .out = output(config, "<!DOCTYPE html>"),
                        .strip = config.text("report.strip")};
  if (const std::string& eval = config.text("report.eval"); !eval.empty()) {
    options.eval_json = eval + "/eval.json";
    options.predictions = eval + "/predictions.jsonl";
  }
  std::vector<std::string> read = {options.eval_json, options.predictions};
  for (const auto* files : {&options.stages, &options.packs})
    for (const NamedFile& file : *files) read.push_back(file.path);
  for (const std::string& path : read)
    if (std::error_code missing; std::filesystem::equivalent(options.out, path, missing))
      input_error("out: ", options.out, " is also read and would be replaced; name another");
  write_report(options);
  return Exit::done;
}

}  // namespace ov::cli
