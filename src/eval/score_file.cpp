#include "eval/score_file.h"

#include <filesystem>
#include <iomanip>
#include <map>
#include <optional>
#include <sstream>

#include "base/error.h"
#include "base/io/file.h"
#include "base/revision.h"
#include "eval/result_name.h"
#include "eval/scorers/statistics.h"
#include "store/jsonl.h"

namespace ov {
namespace {

using namespace public_tasks;

// A line of lmms-eval's samples in our words. The reply as it came is under "resps", unless no filter changed it.
Json in_our_words(const Json& line) {
  if (line.find("prediction") || line.find("predictions")) return line;
  const Json* reply = line.find("resps");
  if (!reply) reply = line.find("filtered_resps");
  while (reply && reply->is_array() && reply->size()) reply = &(*reply)[0];
  if (!reply || !reply->is_string()) return line;
  Json out = line;
  out.set("prediction", *reply);
  if (const Json* target = line.find("target"); target && !line.find("answer")) out.set("answer", *target);
  if (const Json* id = line.find("doc_id"); id && !line.find("id")) out.set("id", *id);
  return out;
}

struct SourcedLine {
  std::string where;
  Json line;
};

std::vector<SourcedLine> read_sourced(const std::string& path) {
  std::vector<SourcedLine> out;
  const auto file = MappedFile::open(path);
  Json whole;
  try {  // lines of JSON are no JSON together
    whole = Json::parse(file->text(), path);
  } catch (const Error&) {}
  if (const Json* cases = whole.is_object() ? whole.find("cases") : nullptr) {
    const Json* shared = whole.find("aggregates");
    for (std::size_t i = 0; i < cases->items().size(); ++i) {
      Json line = (*cases)[i];
      const Json* doc = line.is_object() ? line.find("doc") : nullptr;
      const Json* options = doc && doc->is_object() ? doc->find("options") : nullptr;
      const Json* list = options && options->is_string() && shared ? shared->find(options->as_string()) : nullptr;
      if (list) {
        Json with = *doc;
        with.set("options", *list);
        line.set("doc", std::move(with));
      }
      out.push_back({cat(path, ": case ", i), std::move(line)});
    }
    return out;
  }
  JsonlReader reader(path);
  for (Json line; reader.next(&line);) out.push_back({cat(path, ":", reader.line()), std::move(line)});
  return out;
}

// Their names: "metric,filter" and "metric_stderr,filter", "N/A" where there is no standard error.
Json as_lmms(const std::string& task, const std::string& filter, const Json& metrics) {
  Json out = Json::object({{"alias", task}});
  for (const auto& [name, metric] : metrics.members()) {
    const Json* value = metric.find("mean") ? metric.find("mean") : metric.find("value");
    if (!value) continue;
    const Json* error = metric.find("mean") ? metric.find("stderr") : nullptr;
    out.set(name + "," + filter, *value);
    out.set(name + "_stderr," + filter, error ? *error : Json("N/A"));
  }
  return out;
}

std::size_t lines_with(const Lines& lines, const char* key) {
  std::size_t n = 0;
  for (const Json& line : lines) n += line.find(key) && !(line.find(key)->is_boolean() && !line.find(key)->as_bool());
  return n;
}

std::string id_of(const Json& line, std::size_t index) {
  const Json* id = line.find("id");
  return id ? id->dump() : cat("#", index);
}

// A line of a table for a terminal.
std::string table_line(const std::string& name, const std::string& value, const std::string& error,
                       const std::string& n) {
  return cat(std::left, std::setw(44), name, std::right, std::setw(12), value, std::setw(12), error, std::setw(8), n,
             "\n");
}

std::string cell(const Json* v) {
  if (!v) return "";
  if (v->is_number()) return cat(std::setprecision(6), v->as_double());
  return v->is_string() ? v->as_string() : v->dump();
}

// Of a metric its value, or of each of its parts.
std::string metric_lines(const std::string& name, const Json& metric) {
  if (!metric.is_object()) return "";
  for (const char* key : {"mean", "value", "error"})
    if (const Json* value = metric.find(key))
      return table_line(name, cell(value), cell(metric.find("stderr")), cell(metric.find("n")));
  std::string out;
  for (const auto& [part, inner] : metric.members()) out += metric_lines(name + "/" + part, inner);
  return out;
}

// What lmms-eval itself wrote has no more than these numbers.
std::string lmms_text(const Json& results) {
  std::string out;
  for (const auto& [task, metrics] : results.at("results").members()) {
    out += table_line(task, "value", "stderr", "n");
    const Json* samples = results.find("n-samples");
    const Json* n = samples ? samples->find(task) : nullptr;
    for (const auto& [name, value] : metrics.members()) {
      const std::size_t comma = name.find(',');
      if (comma == name.npos || name.find("_stderr") != name.npos) continue;
      const Json* error = metrics.find(cat(name.substr(0, comma), "_stderr", name.substr(comma)));
      out += table_line(name.substr(0, comma), cell(&value), cell(error), cell(n ? n->find("effective") : nullptr));
    }
  }
  return out;
}

}  // namespace

Lines read_lines(const std::string& path) {
  Lines out;
  for (const SourcedLine& sourced : read_sourced(path)) {
    if (!sourced.line.is_object())
      input_error(sourced.where, ": expected an object, found ", kind_name(sourced.line.kind()));
    out.push_back(in_our_words(sourced.line));
  }
  return out;
}

Json compare_runs(const Lines& first, const Lines& second, const std::string& names) {
  std::map<std::string, double> other;
  for (std::size_t i = 0; i < second.size(); ++i)
    if (const Json* score = second[i].find("score"); score && score->is_number())
      other[id_of(second[i], i)] = score->as_double();
  Values a, b, difference;
  for (std::size_t i = 0; i < first.size(); ++i) {
    const Json* score = first[i].find("score");
    const auto pair = other.find(id_of(first[i], i));
    if (!score || !score->is_number() || pair == other.end()) continue;
    a.push_back(score->as_double());
    b.push_back(pair->second);
    difference.push_back(a.back() - b.back());
  }
  if (a.empty()) input_error(names, ": expected scored lines of the same questions, found no common id");
  const McNemar test = mcnemar(a, b);
  return Json::object({{"n", a.size()},
                       {"first", mean(a)},
                       {"second", mean(b)},
                       {"difference", mean(difference)},
                       {"difference_stderr", number_json(mean_stderr(difference))},
                       {"only_first", test.only_first},
                       {"only_second", test.only_second},
                       {"p", test.p}});
}

std::string compare_text(const Json& c) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(4) << c.at("n").as_int() << " questions of both: " << c.at("first").as_double()
      << " here, " << c.at("second").as_double() << " there\n"
      << "right only here " << c.at("only_first").as_int() << ", only there " << c.at("only_second").as_int()
      << "; McNemar's exact test: p = " << std::setprecision(6) << c.at("p").as_double() << "\n";
  return out.str();
}

Json results_json(const std::vector<ScoredTask>& tasks, Compat compat) {
  Json results = Json::object(), groups = Json::object(), configs = Json::object(), versions = Json::object(),
       shots = Json::object(), samples = Json::object(), full = Json::object();
  for (const ScoredTask& t : tasks) {
    const Json metrics = t.task->metrics(t.lines, compat);
    const std::size_t n = t.lines.size();
    results.set(t.name, as_lmms(t.name, t.task->filter ? "flexible-extract" : "none", metrics));
    groups.set(t.name, Json::array());
    configs.set(t.name, Json::object({{"task", t.name}, {"scorer", t.task->name}}));
    versions.set(t.name, "Yaml");
    shots.set(t.name, 0);
    samples.set(t.name, Json::object({{"original", t.of ? static_cast<std::size_t>(t.of) : n}, {"effective", n}}));
    full.set(t.name, Json::object({{"metrics", metrics},
                                   {"errors", lines_with(t.lines, "error")},
                                   {"asked_judge", lines_with(t.lines, "asks_judge")},
                                   {"failed", lines_with(t.lines, "failed")}}));
  }
  return Json::object({{"results", results},
                       {"group_subtasks", groups},
                       {"configs", configs},
                       {"versions", versions},
                       {"n-shot", shots},
                       {"n-samples", samples},
                       {"compat", compat == Compat::lmms ? "lmms-0.7.3" : "fixed"},
                       {"tasks", full},
                       {"git_hash", revision()}});
}

Json score_file(const ScoreFileOptions& options) {
  ScoredTask scored{.name = options.task, .task = &task_named(options.task), .lines = {}};
  Lines& lines = scored.lines;
  std::string written;
  for (const SourcedLine& sourced : read_sourced(options.file)) {
    try {
      if (!sourced.line.is_object()) input_error("expected an object, found ", kind_name(sourced.line.kind()));
      lines.push_back(score_line(*scored.task, in_our_words(sourced.line), options.compat));
    } catch (const Error& e) { throw Error(e.exit(), cat(sourced.where, ": ", e.what())); }
    written += lines.back().dump() + "\n";
  }
  if (lines.empty()) input_error(options.file, ": expected at least one case, found none");
  Json results = results_json({scored}, options.compat);
  if (!options.compare.empty())
    results.set("compare", compare_runs(lines, read_lines(options.compare), options.compare));

  std::optional<ResultName> name;  // of files in a directory
  if (std::filesystem::is_directory(options.out) || options.out.ends_with('/')) {
    make_directories(options.out);
    name.emplace(options.out);
  }
  write_durably(name ? name->samples(options.task) : options.out, written);
  write_durably(name ? name->results() : options.out + ".results.json", results.dump(2) + "\n");
  return results;
}

std::string score_text(const Json& results) {
  const Json* tasks = results.find("tasks");
  if (!tasks) return lmms_text(results);
  std::string out;
  constexpr std::pair<const char*, const char*> counted[] = {
      {"errors", "lines, counted as wrong"},
      {"asked_judge", "lines, not scored"},
      {"failed", "requests got no answer; they count as empty replies"}};
  for (const auto& [task, full] : tasks->members()) {
    out += table_line(cat(task, ", ", results.at("compat").as_string()), "value", "stderr", "n");
    for (const auto& [name, metric] : full.at("metrics").members()) out += metric_lines(name, metric);
    for (const auto& [key, words] : counted)
      if (const auto n = full.at(key).as_int(); n > 0) out += cat(key, ": ", n, " ", words, "\n");
  }
  if (const Json* compare = results.find("compare")) out += compare_text(*compare);
  return out;
}

}  // namespace ov
