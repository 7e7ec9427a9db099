#include "eval/ask.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>

#include "base/base64.h"
#include "base/error.h"
#include "base/io/file.h"
#include "base/sha256.h"
#include "base/text.h"
#include "eval/answer_log.h"
#include "eval/documents.h"
#include "eval/result_name.h"
#include "eval/score_file.h"
#include "image/decode.h"

namespace ov {
namespace {

using namespace public_tasks;

struct AskedTask {
  std::string name;
  const Task* scorer = nullptr;
  Prompt prompt;
  std::unique_ptr<Documents> documents;
  std::vector<std::pair<std::int64_t, std::int64_t>> rows = {};  // a document's row, and which of its answers it is
  Lines lines = {};
  std::unique_ptr<AnswerLog> log = nullptr;
};

std::unique_ptr<AskedTask> asked_task(const std::string& name, const std::string& scorer, const std::string& prompt,
                                      const std::string& data, const std::string& split, std::int64_t limit) {
  auto task = std::make_unique<AskedTask>(
      AskedTask{name, &task_named(scorer), prompt_named(prompt), std::make_unique<Documents>(data, split)});
  const auto room = [&] { return limit == 0 || std::ssize(task->rows) < limit; };
  for (std::int64_t row = 0; row < task->documents->size() && room(); ++row) {
    std::int64_t answers = 1;
    if (task->prompt.explode) {
      const Json doc = task->documents->read(row);
      const Json* list = doc.find("answer");
      if (!list) input_error(name, ": row ", row, " of ", data, ": answer: missing");
      if (list->is_array()) answers = static_cast<std::int64_t>(list->size());
    }
    for (std::int64_t i = 0; i < answers && room(); ++i) task->rows.emplace_back(row, i);
  }
  task->lines.resize(task->rows.size());
  return task;
}

// A task of the file: its keys, none of them misspelt.
std::unique_ptr<AskedTask> described_task(const std::string& name, const Json& own, const std::string& file,
                                          const AskOptions& o) {
  if (!own.is_object()) input_error(file, ": ", name, ": expected an object, found ", kind_name(own.kind()));
  // The name is part of a file's.
  if (name.empty() || name.size() > 200 ||
      std::any_of(name.begin(), name.end(), [](unsigned char c) { return c == '/' || c < 32 || c == 127; }))
    input_error(file, ": tasks: expected a name of at most 200 bytes without /, found ", shown(name));
  static const std::vector<std::string> known = {"data", "split", "scorer", "prompt", "interleave", "max_tokens"};
  for (const auto& [key, value] : own.members())
    if (std::find(known.begin(), known.end(), key) == known.end())
      input_error(file, ": ", name, ": unknown key ", shown(key), did_you_mean(key, known));
  std::string at;  // the key that is looked at
  try {
    const auto value = [&](const char* key) { return at = cat(": ", key), own.find(key); };
    const auto text = [&](const char* key, const std::string& otherwise) {
      const Json* found = value(key);
      return found ? found->as_string() : otherwise;
    };
    const auto needed = [&](const char* key) {
      if (!value(key)) input_error("expected a text, found nothing");
      return text(key, "");
    };
    const std::string scorer = needed("scorer"), prompt = text("prompt", scorer), split = text("split", o.split);
    const std::string data = o.data.empty() ? parent_directory(file) + "/" + needed("data") : o.data;
    const Json *in = value("interleave"), *most = nullptr;
    const bool interleaved = in && in->as_bool();
    std::int64_t max_tokens = 0;
    if ((most = value("max_tokens")) && (max_tokens = most->as_int()) < 1)
      input_error("expected at least 1, found ", max_tokens);
    at = "";
    auto task = asked_task(name, scorer, prompt, data, split, o.limit);
    if (!task->prompt.explode) task->prompt.pictures = pictures_of;
    if (interleaved) task->prompt.placement = ImagePlacement::left_first;
    if (most) task->prompt.max_tokens = max_tokens;
    task->prompt.pictureless = true;  // data of one's own: they may be texts
    return task;
  } catch (const Error& e) { throw Error(e.exit(), cat(file, ": ", name, at, ": ", e.what())); }
}

// DIRECTORY/NAME, or a file of that name in it.
std::string data_of(const std::string& directory, const std::string& name) {
  std::error_code missing;
  for (const char* ending : {"", ".parquet", ".jsonl", ".json"})
    if (const std::string path = directory + "/" + name + ending; std::filesystem::exists(path, missing)) return path;
  input_error(directory, ": expected ", name, ", ", name, ".parquet, ", name, ".jsonl or ", name, ".json in it");
}

std::vector<std::unique_ptr<AskedTask>> read_tasks(const AskOptions& o) {
  std::vector<std::unique_ptr<AskedTask>> out;
  std::error_code missing;
  if (std::filesystem::is_regular_file(o.tasks, missing)) {
    const Json file = Json::read(o.tasks);
    const Json* list = file.is_object() ? file.find("tasks") : nullptr;
    if (!list || !list->is_object())
      input_error(o.tasks, ": expected an object of \"tasks\", found ", list ? list->shown(40) : kind_name(file.kind()),
                  list || !file.is_object() ? "" : " without them");
    for (const auto& [name, own] : list->members()) out.push_back(described_task(name, own, o.tasks, o));
    if (out.size() > 1 && !o.data.empty())
      input_error("--data: ", o.tasks, " has several tasks, which name their data");
  } else {
    if (o.data.empty()) input_error("--data: expected the documents of ", o.tasks);
    std::vector<std::string> names;
    for (std::size_t at = 0; at <= o.tasks.size();) {
      const std::size_t end = std::min(o.tasks.find(',', at), o.tasks.size());
      names.push_back(o.tasks.substr(at, end - at));
      at = end + 1;
    }
    for (const std::string& name : names) {
      if (std::count(names.begin(), names.end(), name) > 1)
        input_error("--tasks: ", shown(name), " stands there twice");
      task_named(name), prompt_named(name);  // before any data is looked for
      out.push_back(asked_task(name, name, name, names.size() == 1 ? o.data : data_of(o.data, name), o.split, o.limit));
    }
  }
  if (out.empty()) input_error(o.tasks, ": expected tasks, found none");
  return out;
}

Json text_part(const std::string& text) { return Json::object({{"type", "text"}, {"text", text}}); }

// The document that is asked about: what scoring and the prompt look at.
Json document(const AskedTask& task, std::size_t i) {
  const auto [row, part] = task.rows[i];
  Json doc = task.documents->read(row);
  if (task.prompt.explode && doc.at("answer").is_array())
    doc.set("answer", Json(doc.at("answer")[static_cast<std::size_t>(part)]));
  const auto pictures = task.prompt.pictures(doc);
  if (task.prompt.sizes && !pictures.empty() && !doc.find("image_width")) {
    const ImageSize size = image_size(from_base64(task.documents->picture(pictures[0])), "picture");
    doc.set("image_width", size.width), doc.set("image_height", size.height);
  }
  return doc;
}

// Without the pictures' bytes, and with what a scorer wants to know of them.
Json without_pictures(const Json& doc) {
  Json out = Json::object();
  for (const auto& [key, value] : doc.members()) {
    const bool bytes = value.is_object() && (value.find("base64") || value.find("bytes"));
    const bool list = value.is_array() && value.size() && value[0].is_object() && value[0].find("bytes");
    if (!bytes && !list && !(value.is_string() && value.as_string().size() > 20000)) out.set(key, value);
  }
  if (const Json* answers = doc.find("answers"); answers && answers->is_array())
    out.set("answer_ids", answers->size() && (*answers)[0].is_object() && (*answers)[0].find("answer_id") != nullptr);
  return out;
}

// What an answer of the API says. One without a reply is `failed`: it ends no evaluation.
struct Told {
  std::string reply, failed;
  Json counts = Json::object();
};

Told told_by(const Json& answer) {
  Told told;
  try {
    if (const Json* error = answer.find("error"); error && !error->is_null()) {
      const Json* message = error->is_object() ? error->find("message") : nullptr;
      const bool words = message && message->is_string() && !message->as_string().empty();
      told.failed = words ? message->as_string() : error->shown();
      return told;
    }
    const Json& content = answer.at("choices")[0].at("message").at("content");
    told.reply = content.is_null() ? "" : content.as_string();
    const Json* usage = answer.find("usage");
    if (!usage || !usage->is_object()) return told;
    const Json *input = usage->find("prompt_tokens"), *output = usage->find("completion_tokens");
    if (input && output && input->is_integer() && output->is_integer())
      told.counts = Json::object({{"input_tokens", *input}, {"output_tokens", *output}, {"reasoning_tokens", 0}});
  } catch (const Error& e) { told.failed = cat("an answer without a reply: ", e.what(), ": ", answer.shown()); }
  return told;
}

void take_answer(const AskedTask& task, std::size_t i, const Json& answer, Compat compat, Json& line) {
  Json doc = document(task, i);
  Json in = Json::object({{"id", i}, {"doc_id", i}, {"input", task.prompt.text(doc)}});
  const Json gold = task.prompt.gold(doc);
  const auto [reply, failed, counts] = told_by(answer);
  in.set("target", gold.is_string() ? gold : Json(gold.dump()));
  in.set("answer", gold);
  in.set("prediction", reply);
  Json clean = without_pictures(doc);
  Sha256 hash;
  const std::string text = clean.dump();
  hash.update(text.data(), text.size());
  in.set("doc", std::move(clean));
  line = score_line(*task.scorer, in, compat);
  line.set("resps", std::vector<Json>{Json(std::vector<Json>{Json(reply)})});
  line.set("filtered_resps", std::vector<Json>{Json(python::utf8(without_reasoning(python::text(reply))))});
  line.set("token_counts", std::vector<Json>{counts});
  line.set("doc_hash", hash.hex());
  if (!failed.empty()) line.set("failed", failed);
}

// The name of a directory for a model's name: of a long one, the end.
std::string sanitised(std::string name) {
  if (name.size() > 200) name.erase(0, name.size() - 200);
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '.' && c != '_') c = '_';
  return name.find_first_not_of('.') == name.npos ? "model" : name;
}

}  // namespace

Json request_body(const Prompt& prompt, const Json& doc, const std::string& model,
                  const std::function<std::string(const Json&)>& picture) {
  std::string text = prompt.text(doc);
  std::vector<Json> pictures;
  const std::vector<Json> shown = prompt.pictures(doc);
  if (shown.empty() && !prompt.pictureless) input_error("no picture, and ", prompt.names[0], " asks about one");
  for (const Json& p : shown)
    pictures.push_back(Json::object(
        {{"type", "image_url"}, {"image_url", Json::object({{"url", "data:image/png;base64," + picture(p)}})}}));
  Json content = Json::array();
  std::size_t next = 0;
  if (prompt.placement == ImagePlacement::before) {
    for (const Json& p : pictures) content.push(p);
    content.push(text_part(prompt.strip ? python::utf8(python::strip(python::text(text))) : text));
  } else {
    const bool left_first = prompt.placement == ImagePlacement::left_first;
    for (int i = 1; i <= 7; ++i) {
      const std::string tag = cat("<image ", i, ">");
      for (std::size_t at = 0; !left_first && (at = text.find(tag, at)) != text.npos;)
        text.replace(at, tag.size(), "<image>");
    }
    const auto pieces = python::split(python::text(text), U"<image>");
    const std::size_t tags = pieces.size() - 1;
    if (left_first)
      for (; pictures.size() - next > tags; ++next) content.push(pictures[next]);
    const auto say = [&](std::size_t i) {
      if (const auto piece = python::strip(pieces[i]); !piece.empty()) content.push(text_part(python::utf8(piece)));
    };
    for (std::size_t i = 0; next < pictures.size(); ++i, ++next) {
      if (i < tags) say(i);
      content.push(pictures[next]);
    }
    // Tags beyond the pictures: their texts are left out, as upstream does, unless there is no picture at all.
    if (left_first && pictures.empty())
      for (std::size_t i = 0; i < tags; ++i) say(i);
    say(tags);
  }
  Json messages = Json::array();
  const Json* own = doc.find("system");
  const std::string system(own && own->is_string() ? own->as_string() : prompt.system);
  if (!system.empty())
    messages.push(Json::object({{"role", "system"}, {"content", std::vector<Json>{text_part(system)}}}));
  messages.push(Json::object({{"role", "user"}, {"content", std::move(content)}}));
  Json body = Json::object({{"model", model}, {"messages", messages}, {"max_tokens", prompt.max_tokens}});
  body.set("temperature", prompt.temperature == 0 ? Json(0) : Json(prompt.temperature));
  if (prompt.top_p) body.set("top_p", 1.0);
  return body;
}

Json ask_tasks(const Asker& asker, const AskOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  const auto tasks = read_tasks(options);
  std::vector<std::pair<AskedTask*, std::size_t>> all;
  for (const auto& task : tasks)
    for (std::size_t i = 0; i < task->rows.size(); ++i) all.emplace_back(task.get(), i);
  if (!options.compare.empty() && tasks.size() > 1) input_error("--compare: expected one task, found ", tasks.size());
  // What can be told without an answer is told before the first is paid for.
  Lines other;
  if (!options.compare.empty()) {
    other = read_lines(options.compare);
    Lines asked;
    for (std::size_t i = 0; i < all.size(); ++i) asked.push_back(Json::object({{"id", i}, {"score", 0}}));
    compare_runs(asked, other, options.compare);
  }
  const std::string directory = options.out + "/" + sanitised(options.model);
  make_directories(directory);
  const auto named = [&](std::size_t n, auto&& f) {
    const auto& [task, i] = all[n];
    try {
      return f(*task, i);
    } catch (const Error& e) { throw Error(e.exit(), cat(task->name, ": document ", i, ": ", e.what())); }
  };
  const auto body_of = [&](const AskedTask& task, std::size_t i) {
    return request_body(task.prompt, document(task, i), options.model,
                        [&](const Json& p) { return task.documents->picture(p); });
  };
  std::int64_t done = 0, tokens = 0, resumed = 0;
  const auto take = [&](AskedTask& task, std::size_t i, const Json& answer) {
    take_answer(task, i, answer, options.compat, task.lines[i]);
    if (const Json* count = task.lines[i].at("token_counts")[0].find("output_tokens")) tokens += count->as_int();
    ++done;
  };
  for (const auto& task : tasks)
    task->log = std::make_unique<AnswerLog>(directory + "/" + task->name + ".unfinished", options.from);
  std::vector<std::size_t> open;  // of `all`: what no run before had answered
  for (std::size_t n = 0; n < all.size(); ++n) {
    const auto known = [&](AskedTask& task, std::size_t i) {
      const auto document = static_cast<std::int64_t>(i);
      const Json* answer =
          task.log->holds(document) ? task.log->find(document, request_hash(body_of(task, i))) : nullptr;
      if (answer) take(task, i, *answer), ++resumed;
      return answer != nullptr;
    };
    if (!named(n, known)) open.push_back(n);
  }
  if (options.progress) options.progress(done, std::ssize(all));
  std::vector<std::string> requests(open.size());  // their hashes
  asker(
      open.size(),
      [&](std::size_t k) {
        const Json body = named(open[k], body_of);
        requests[k] = request_hash(body);
        return body;
      },
      [&](std::size_t k, const Json& answer) {
        named(open[k], [&](AskedTask& task, std::size_t i) {
          if (told_by(answer).failed.empty()) task.log->add(static_cast<std::int64_t>(i), requests[k], answer);
          take(task, i, answer);
        });
        if (options.progress) options.progress(done, std::ssize(all));
      });

  const ResultName name(directory);
  std::vector<ScoredTask> scored;
  for (const auto& task : tasks) {
    std::string written;
    for (const Json& line : task->lines) written += line.dump() + "\n";
    write_durably(name.samples(task->name), written);
    scored.push_back({task->name, task->scorer, std::move(task->lines), task->documents->size()});
  }
  Json results = results_json(scored, options.compat);
  if (!options.compare.empty()) results.set("compare", compare_runs(scored[0].lines, other, options.compare));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  results.set("config", Json::object({{"model", options.model},
                                      {"limit", options.limit ? Json(options.limit) : Json()},
                                      {"gen_kwargs", ""}}));
  results.set("model_name", options.model);
  results.set("model_name_sanitized", sanitised(options.model));
  results.set("total_evaluation_time_seconds", cat(seconds));
  results.set("throughput", Json::object({{"total_gen_tokens", tokens},
                                          {"total_elapsed_time", seconds},
                                          {"avg_speed", seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0}}));
  if (resumed) results.set("resumed", resumed);
  write_durably(name.results(), results.dump(2) + "\n");
  for (const auto& task : tasks)
    if (results.at("tasks").at(task->name).at("failed").as_int() == 0) task->log->remove();
  return results;
}

}  // namespace ov
