#include "serve/chat.h"

#include "base/base64.h"
#include "base/io/file.h"
#include "base/text.h"
#include "base/utf8.h"
#include "serve/askers.h"
#include "serve/http.h"
#include "serve/sse.h"

namespace ov::serve {
namespace {

constexpr const char* commands =
    "/image PATH   /system TEXT   /clear   /regen   /save FILE   /quit; anything else is a question\n";

Json without_last(const Json& list) {
  Json out = Json::array();
  for (std::size_t i = 0; i + 1 < list.size(); ++i) out.push(list[i]);
  return out;
}

// One event of a stream; true when the stream goes on.
bool take_event(std::string_view text, const std::function<bool(const std::string&)>& piece, std::string& reason) {
  if (trimmed(text) == "[DONE]") return true;
  const Json event = Json::parse(text, "the server's event");
  if (const Json* error = event.find("error"))
    input_error("the server: ", error->is_object() ? error->at("message").shown(400) : error->shown(400));
  const Json& choices = event.at("choices");
  if (choices.size() == 0) return true;
  if (const Json* why = choices[0].find("finish_reason"); why && why->is_string()) reason = why->as_string();
  const Json* delta = choices[0].find("delta");
  const Json* content = delta ? delta->find("content") : nullptr;
  return !content || !content->is_string() || content->as_string().empty() || piece(content->as_string());
}

}  // namespace

Speaker speaker_here(const Service& service, Engine& engine) {
  return [&](const Json& body, const std::function<bool(const std::string&)>& piece) {
    try {
      Reply reply(service, engine, read_chat(service, body));
      while (!reply.over()) {
        engine.step();
        while (const auto p = reply.next(std::chrono::milliseconds(0))) {
          reply.check();
          if (!p->text.empty() && !piece(p->text)) return std::string("cancelled");
          if (!p->finish_reason.empty()) return p->finish_reason;
        }
      }
      return std::string("stop");
    } catch (const ApiError& e) { input_error(e.what()); }
  };
}

Speaker speaker_at(const std::string& url, const std::string& api_key) {
  const Address at = address_of(url, "chat.url");
  return
      [origin = at.origin, base = at.base, api_key](Json body, const std::function<bool(const std::string&)>& piece) {
        body.set("stream", true);
        if (!body.find("model")) body.set("model", "default");
        load_http();
        httplib::Client client(origin);
        client.set_read_timeout(600);
        httplib::Request request;
        request.method = "POST", request.path = base + "/chat/completions", request.body = body.dump();
        request.headers = {{"Content-Type", "application/json"}, {"Accept", "text/event-stream"}};
        if (!api_key.empty()) request.headers.emplace("Authorization", "Bearer " + api_key);
        int status = 0;
        bool left = false, whole = false;
        std::string refusal, reason;
        std::exception_ptr error;
        EventReader events;
        const auto take = [&](std::string_view event) {
          if (!take_event(event, piece, reason)) return !(left = true);
          return whole |= trimmed(event) == "[DONE]" || !reason.empty(), true;
        };
        const auto last =
            [&](std::string_view event) {  // half an event, where only the end of the connection tells the end
              try {
                if (trimmed(event) != "[DONE]") Json::parse(event, "");
              } catch (const ov::Error&) { return true; }
              return take(event);
            };
        request.response_handler = [&](const httplib::Response& r) { return status = r.status, true; };
        request.content_receiver = [&](const char* data, std::size_t n, std::uint64_t, std::uint64_t) {
          if (status != 200) return refusal.append(data, n), refusal.size() < 1u << 20;
          try {
            return events.add({data, n}, take);
          } catch (...) { return error = std::current_exception(), false; }
        };
        const auto result = client.send(request);
        if (result && !left && status == 200) events.end(last);
        if (error) std::rethrow_exception(error);
        if (left) return std::string("cancelled");
        if (status == 0)
          input_error("cannot reach ", origin, ": ", http_fault(result.error(), origin), "; does a server run there?");
        if (status != 200) input_error("the server answers ", status, ": ", shown(refusal, 400));
        if (!whole) input_error("the connection to ", origin, " was lost before the answer's end");
        return reason;
      };
}

Chat::Chat(Speaker speaker, Json options, MediaOptions media)
    : speaker_(std::move(speaker)), options_(std::move(options)), media_(std::move(media)) {}

void Chat::answer(const std::function<bool(const std::string&)>& out) {
  Json body = options_;
  body.set("messages", messages_);
  if (const Json* seed = body.find("seed")) body.set("seed", seed->as_int() + again_);
  std::string text;
  speaker_(body, [&](const std::string& piece) { return text += piece, out(piece); });
  messages_.push(Json::object({{"role", "assistant"}, {"content", text}}));
}

bool Chat::line(const std::string& typed, const std::function<bool(const std::string&)>& out) {
  const std::string_view all = trimmed(typed);
  const std::size_t blank = std::min(all.find(' '), all.size());
  const std::string command(all.substr(0, blank)), rest(trimmed(all.substr(blank)));
  const Json before = messages_;
  try {
    if (all.empty()) return true;
    if (command == "/quit" || command == "/exit") return false;
    if (command == "/clear") {
      messages_ = pictures_ = Json::array();
    } else if (command == "/system") {
      Json changed = Json::array();
      if (!rest.empty()) changed.push(Json::object({{"role", "system"}, {"content", rest}}));
      for (const Json& m : messages_.items())
        if (m.at("role").as_string() != "system") changed.push(m);
      messages_ = changed;
    } else if (rest.empty() && (command == "/image" || command == "/save")) {
      input_error(command, ": expected a file, as in ", command, command == "/image" ? " cat.jpg" : " talk.json");
    } else if (command == "/image") {
      const std::string url = "data:image;base64," + to_base64(read_file(rest));
      picture_at(url, media_);  // told now, not with the question
      pictures_.push(Json::object({{"type", "image_url"}, {"image_url", Json::object({{"url", url}})}}));
    } else if (command == "/save") {
      write_durably(rest, messages_.dump(2) + "\n");
    } else if (command == "/regen") {
      if (messages_.size() == 0 || messages_[messages_.size() - 1].at("role").as_string() != "assistant")
        input_error("/regen: there is no answer yet");
      ++again_;
      messages_ = without_last(messages_);
      answer(out);
    } else if (command[0] == '/') {
      out(command == "/help" ? commands : cat("there is no ", command, "\n", commands));
    } else {
      require_utf8(all, "the question");
      Json content = pictures_;
      content.push(Json::object({{"type", "text"}, {"text", std::string(all)}}));
      messages_.push(Json::object({{"role", "user"}, {"content", content}}));
      answer(out);
      pictures_ = Json::array();
    }
  } catch (const ov::Error& e) {
    messages_ = before, exit_ = e.exit();
    out(cat(e.what(), "\n"));
  }
  return true;
}

}  // namespace ov::serve
