#include "serve/batch.h"

#include <unistd.h>

#include <filesystem>

#include "base/io/file.h"
#include "base/sha256.h"
#include "base/text.h"
#include "store/jsonl.h"

namespace ov::serve {
namespace {

// A line of the input, and its answer once it is there.
struct Line {
  std::string id;  // of the line, its number where it has none
  bool openai = false;
  Json json;
  std::unique_ptr<Reply> reply = nullptr;
  std::optional<ApiError> error = std::nullopt;
};

// Lines of a file, wrong ones too: what cannot be parsed is an answer as well.
std::vector<Line> read_lines(const std::string& path) {
  std::vector<Line> lines;
  JsonlReader reader(path);  // names a file that cannot be read
  const std::size_t first = reader.text().find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) input_error(path, ": has no line");
  if (reader.text()[first] == '[') input_error(path, ": is a JSON array; expected JSON lines, an object a line");
  for (bool more = true; more;) {
    Line line;
    try {
      more = reader.next(&line.json);
      if (!more) break;
      if (!line.json.is_object()) input_error(path, ":", reader.line(), ": expected an object");
      line.openai = line.json.find("custom_id") != nullptr;
      const Json* id = line.json.find(line.openai ? "custom_id" : "id");
      line.id = !id ? cat(reader.line()) : id->is_string() ? id->as_string() : id->dump();
    } catch (const ov::Error& e) {
      if (e.exit() != Exit::wrong_input) throw;
      line.error = ApiError(400, e.what());
      line.json = Json::object();
      line.id = cat(reader.line());
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

std::string asked_path(const std::string& out) { return out + ".asked.json"; }

// The lines, a digest each, and who is asked. What an output holds already must have been asked like this.
Json asked(const std::vector<Line>& lines, const BatchOptions& options) {
  Json digests = Json::array();
  for (const Line& l : lines) {
    std::string text = l.error ? l.error->what() : l.json.dump();
    if (l.error && text.starts_with(options.in)) text.erase(0, options.in.size());
    digests.push(sha256(text).substr(0, 16));
  }
  return Json::object({{"model", options.model}, {"lines", digests}});
}

void check_asked(const BatchOptions& options, std::size_t before, const Json& now) {
  const std::string path = asked_path(options.out);
  if (!path_exists(path))
    input_error(options.out, ": ", path, ", which says what was asked, is missing; name another output");
  const Json then = Json::read(path);
  const Json *model = then.is_object() ? then.find("model") : nullptr, *digests = model ? then.find("lines") : nullptr;
  if (!digests || !digests->is_array() || !model->is_string())
    input_error(path, ": is not what batch writes; name another output");
  if (model->as_string() != options.model)
    input_error(
        options.out,
        ": holds answers of another model, or under other options (weights, tokenizer, keys); name another output");
  for (std::size_t i = 0; i < before; ++i)
    if (i >= digests->size() || (*digests)[i].dump() != now.at("lines")[i].dump())
      input_error(options.out, ": line ", i + 1, " answers what line ", i + 1, " of ", options.in,
                  " was before it changed; name another output, or remove this one to ask again");
}

std::string id_of(const Json& record) {
  for (const char* key : {"custom_id", "id"})
    if (const Json* id = record.find(key)) return id->is_string() ? id->as_string() : id->dump();
  return "";
}

// A simple line as a body of the API: its pictures first, then its prompt.
Json body_of(const Json& line, const std::string& directory) {
  Json body = Json::object(), content = Json::array();
  for (const auto& [key, value] : line.members())
    if (key != "image" && key != "images" && key != "prompt" && key != "id") body.set(key, value);
  if (line.find("messages")) return body;
  for (const char* key : {"image", "images"})
    if (const Json* pictures = line.find(key); pictures && !pictures->is_null())
      for (const Json& p : pictures->is_array() ? pictures->items() : std::vector<Json>{*pictures}) {
        if (!p.is_string()) throw ApiError(400, cat(key, ": expected a file or a URL, found ", p.shown(40)), key);
        std::string url = p.as_string();
        if (url.compare(0, 5, "data:") != 0 && url.find("://") == url.npos)
          url = "file://" + (url.compare(0, 1, "/") == 0 ? url : directory + "/" + url);
        content.push(Json::object({{"type", "image_url"}, {"image_url", Json::object({{"url", url}})}}));
      }
  const Json* prompt = line.find("prompt");
  if (!prompt || !prompt->is_string()) throw ApiError(400, "expected a prompt, or messages", "prompt");
  content.push(Json::object({{"type", "text"}, {"text", *prompt}}));
  Json messages = Json::array();
  messages.push(Json::object({{"role", "user"}, {"content", content}}));
  body.set("messages", messages);
  return body;
}

void ask(const Service& service, Engine& engine, const std::string& directory, Line& line) {
  if (line.error) return;
  try {
    Json body;
    bool chat = true;
    if (line.openai) {
      const Json *url = line.json.find("url"), *given = line.json.find("body"), *method = line.json.find("method");
      if (method && (!method->is_string() || method->as_string() != "POST"))
        throw ApiError(400, cat("method: expected POST, found ", method->shown(40)), "method");
      const std::string at = url && url->is_string() ? url->as_string() : "";
      chat = at == "/v1/chat/completions";
      if (!chat && at != "/v1/completions")
        throw ApiError(404,
                       cat("url: expected /v1/chat/completions or /v1/completions, ",
                           url ? cat("found ", url->shown(40)) : "and there is none"),
                       "url");
      if (!given || !given->is_object()) throw ApiError(400, "body: expected an object", "body");
      body = *given;
    } else {
      body = body_of(line.json, directory);
    }
    body.set("stream", false);
    body.set("stream_options", Json());
    Asked asked = chat ? read_chat(service, body) : read_completion(service, body);
    line.reply = std::make_unique<Reply>(service, engine, std::move(asked));
  } catch (const ApiError& e) { line.error = e; }
}

Json record(Line& line) {
  if (line.reply) try {
      line.reply->check();
    } catch (const ApiError& e) { line.error = e; }
  if (line.openai) {
    const int status = line.error ? line.error->status : 200;
    const std::string request = line.reply ? line.reply->id() : "";
    return Json::object({{"id", "batch_req_" + line.id},
                         {"custom_id", line.id},
                         {"response", Json::object({{"status_code", status},
                                                    {"request_id", request},
                                                    {"body", line.error ? line.error->json() : line.reply->json()}})},
                         {"error", Json()}});
  }
  Json out = line.json;
  if (!out.find("id")) out.set("id", line.id);
  if (line.error) {
    out.set("error", line.error->json().at("error"));
    return out;
  }
  const Json answer = line.reply->json();
  const std::vector<Json>& choices = answer.at("choices").items();
  Json outputs = Json::array();
  for (const Json& c : choices) outputs.push(c.at("message").at("content"));
  out.set("output", outputs.size() == 1 ? outputs[0] : outputs);
  out.set("usage", answer.at("usage"));
  out.set("finish_reason", choices[0].at("finish_reason"));
  if (!choices[0].at("logprobs").is_null()) out.set("logprobs", choices[0].at("logprobs"));
  if (const Json* attention = choices[0].find("image_attention")) out.set("image_attention", *attention);
  return out;
}

// Of a line that record() made.
bool has_error(const Json& record) {
  const Json *error = record.find("error"), *response = record.find("response");
  const Json* status = response && response->is_object() ? response->find("status_code") : nullptr;
  return (error && !error->is_null()) || (status && status->is_integer() && status->as_int() != 200);
}

}  // namespace

BatchCounts run_batch(const Service& service, Engine& engine, const BatchOptions& options) {
  std::vector<Line> lines = read_lines(options.in);
  const std::size_t slash = options.in.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : options.in.substr(0, slash);
  BatchCounts counts;
  JsonlWriter out = JsonlWriter::resume(options.out, [&](const Json& r) {
    const auto at = static_cast<std::size_t>(counts.before++);
    if (at >= lines.size() || id_of(r) != lines[at].id)
      input_error(options.out, ": line ", at + 1, " is not an answer to line ", at + 1, " of ", options.in,
                  "; name another output");
    counts.failed_before += has_error(r);
    return true;
  });
  if (std::filesystem::is_regular_file(options.out)) {  // a pipe is not gone on with
    const Json now = asked(lines, options);
    if (counts.before > 0) check_asked(options, static_cast<std::size_t>(counts.before), now);
    if (const std::string path = asked_path(options.out); !path_exists(path) || read_file(path) != now.dump())
      write_durably(path, now.dump());
  }
  std::size_t next = static_cast<std::size_t>(counts.before);
  for (std::size_t written = next; written < lines.size(); ++written) {
    for (; next < lines.size() && std::cmp_less(next - written, options.at_once); ++next) {
      ask(service, engine, directory, lines[next]);
      if (options.fail_fast && lines[next].error)
        input_error(options.in, ": line ", next + 1, ": ", lines[next].error->what());
    }
    Line& line = lines[written];
    while (line.reply && (line.reply->take_all(), !line.reply->over())) engine.step();
    out.write(record(line));
    ++(line.error ? counts.failed : counts.answered);
    line = {};
    if (options.progress) options.progress(static_cast<std::int64_t>(written) + 1, std::ssize(lines));
  }
  return counts;
}

}  // namespace ov::serve
