#include "serve/server.h"

#include <malloc.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "base/revision.h"
#include "base/text.h"
#include "serve/bodies.h"
#include "serve/http.h"
#include "serve/metrics.h"
#include "serve/page.h"
#include "serve/reply.h"
#include "serve/sockets.h"
#include "serve/sse.h"
#include "serve/turns.h"
#include "serve/workers.h"

namespace ov::serve {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds look_every{50};         // at the client
constexpr std::chrono::seconds say_alive{15};  // in a stream that waits

bool same_secret(const std::string& a, const std::string& b) {
  unsigned char difference = a.size() != b.size();
  for (std::size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned char>(a[i] ^ b[b.empty() ? 0 : i % b.size()]);
  return difference == 0;
}

// /v1/x and /x mean the same.
std::string without_version(const std::string& path) { return path.compare(0, 4, "/v1/") == 0 ? path.substr(3) : path; }

}  // namespace

struct Server::Inside {
  Inside(const Service& service, Engine& engine, const ServerOptions& options)
      : service(service), engine(engine), options(options), bodies(options.max_bodies) {}

  void answer(httplib::Response& res, const Json& json, int status = 200) {
    res.status = status;
    res.set_content(json.dump(), "application/json");
  }
  void refuse(httplib::Response& res, const ApiError& e) {
    answer(res, e.json(), e.status);
    if (e.status == 503) res.set_header("Retry-After", "1");
    if (e.status == 401) res.set_header("WWW-Authenticate", "Bearer");
    metrics.failed(e.status);
  }
  void log(const std::string& client, const std::string& method, const std::string& path, int status,
           const std::string& id = "-", const std::string& costs = "") {
    if (options.log)
      options.log(cat(id, " ", client, " ", shown(method, 20), " ", shown(path, 80), " ", status,
                      costs.empty() ? "" : " ", costs));
  }

  void check_key(const httplib::Request& req) {
    if (options.api_key.empty() || req.method == "OPTIONS" || req.path == "/health" || req.path == "/") return;
    if (!same_secret(req.get_header_value("Authorization"), "Bearer " + options.api_key))
      throw ApiError(401, "a wrong API key, or none: expected 'Authorization: Bearer KEY'", "", "invalid_api_key");
  }

  Json model_json() const {
    return Json::object({{"id", service.name},
                         {"object", "model"},
                         {"created", started},
                         {"owned_by", "onevision"},
                         {"max_model_len", service.config.text.max_positions}});
  }

  void get(const httplib::Request& req, httplib::Response& res) {
    const std::string path = without_version(req.path);
    if (path == "/") return res.set_content(page, "text/html; charset=utf-8");
    if (path == "/health")
      return answer(res, Json::object({{"status", draining ? "draining" : "ok"}}), draining ? 503 : 200);
    if (path == "/models")
      return answer(res, Json::object({{"object", "list"}, {"data", std::vector<Json>{model_json()}}}));
    if (path == "/models/" + service.name) return answer(res, model_json());
    if (path.compare(0, 8, "/models/") == 0)
      throw ApiError(404, cat("no model ", shown(path.substr(8), 80), " here; this is ", service.name), "model",
                     "model_not_found");
    if (path == "/metrics") return res.set_content(metrics.text(engine.stats()), "text/plain; version=0.0.4");
    if (path == "/version") return answer(res, Json::object({{"version", revision()}}));
    for (const char* known : {"/chat/completions", "/completions", "/tokenize", "/detokenize", "/apply-template"})
      if (path == known) throw ApiError(405, cat(path, ": expected POST"));
    throw ApiError(404, cat("no such path: ", shown(req.path, 80)));
  }

  void post(const httplib::Request& req, httplib::Response& res, std::string& text, Bodies::Share& share) {
    const std::string path = without_version(req.path);
    const bool chat = path == "/chat/completions";
    if (chat || path == "/completions") {
      if (draining) throw ApiError(503, "the server is about to stop");
      Asked asked;
      const int socket = socket_of(req);
      {
        // Few at a time: a picture is much larger than its file. Who sends none does not stand behind those who do.
        const Turns::Turn turn(text.find("image") == text.npos ? reading : looking);
        if (left(socket)) {
          res.status = 499;
          return;
        }
        const Json body = parse_body(text);
        std::string().swap(text);
        asked = chat ? read_chat(service, body) : read_completion(service, body);
      }
      share.release();
      return reply(req, res, std::move(asked), socket);
    }
    const Tokenizer& tokenizer = service.processor.tokenizer();
    if (path == "/tokenize") {
      const Json body = parse_body(text);
      const Json* prompt = body.find("prompt") ? body.find("prompt") : body.find("content");
      if (!body.find("messages") && (!prompt || !prompt->is_string()))
        throw ApiError(400, "prompt: expected a text", "prompt");
      const auto ids = tokenizer.encode(body.find("messages") ? rendered(service, body) : prompt->as_string());
      return answer(
          res,
          Json::object({{"tokens", ids}, {"count", ids.size()}, {"max_model_len", service.config.text.max_positions}}));
    }
    if (path == "/detokenize") {
      const Json body = parse_body(text);
      const Json* tokens = body.find("tokens");
      std::vector<std::int64_t> ids;
      for (const Json& id : tokens && tokens->is_array() ? tokens->items() : std::vector<Json>{Json()}) {
        if (!id.is_integer() || id.as_int() < 0 || id.as_int() >= service.config.text.vocabulary)
          throw ApiError(400, cat("tokens: expected a list of ids below ", service.config.text.vocabulary), "tokens");
        ids.push_back(id.as_int());
      }
      const std::string decoded = tokenizer.decode(ids, false);
      return answer(res, Json::object({{"prompt", decoded}, {"content", decoded}}));
    }
    if (path == "/apply-template") return answer(res, Json::object({{"prompt", rendered(service, parse_body(text))}}));
    for (const char* known : {"/health", "/models", "/metrics", "/version"})
      if (path == known) throw ApiError(405, cat(path, ": expected GET"));
    throw ApiError(404, cat("no such path: ", shown(req.path, 80)));
  }

  void reply(const httplib::Request& req, httplib::Response& res, Asked asked, int socket) {
    const auto begin = Clock::now();
    const bool stream = asked.stream;
    const auto r = std::make_shared<Reply>(service, engine, std::move(asked));
    res.set_header("x-request-id", r->id());
    // Counted from here to the end of the stream: what stop() waits for.
    const std::shared_ptr<void> counted(++active ? &active : nullptr, [this](void*) { --active; });
    const auto finished = [this, r, begin, client = req.remote_addr, path = req.path](int status) {
      log(client, "POST", path, status, r->id(), r->costs().line());
      if (status == 200) metrics.done(*r, std::chrono::duration<double>(Clock::now() - begin).count());
    };
    const auto deadline = begin + std::chrono::seconds(options.timeout_s);
    if (!stream) {
      while (!r->over()) {
        r->next(look_every);
        if (left(socket)) {
          res.status = 499;
          return finished(499);
        }
        if (Clock::now() > deadline || aborted)
          throw ApiError(503, aborted ? "the server stops" : cat("no answer within ", options.timeout_s, " s"));
      }
      r->check();
      answer(res, r->json());
      return finished(200);
    }
    struct Progress {
      bool begun = false;
      Clock::time_point said = Clock::now();
    };
    const auto progress = std::make_shared<Progress>();
    const auto write = [](httplib::DataSink& sink, const std::string& text) {
      return sink.write(text.data(), text.size());
    };
    res.set_chunked_content_provider("text/event-stream", [this, r, socket, deadline, finished, progress, write,
                                                           counted](std::size_t, httplib::DataSink& sink) mutable {
      std::string out;
      if (!progress->begun)
        for (const Json& event : r->first_events()) out += event_text(event);
      progress->begun = true;
      const std::optional<Piece> piece = r->next(look_every);
      try {
        r->check();
        if (Clock::now() > deadline || aborted)
          throw ApiError(503, aborted ? "the server stops" : cat("no answer within ", options.timeout_s, " s"));
        if (piece && (!piece->text.empty() || !piece->finish_reason.empty() ||
                      ((r->asked().logprobs || r->asked().image_attention) && r->asked().chat)))
          out += split(*r, *piece);
        if (r->over()) {
          if (r->asked().include_usage) out += event_text(r->usage_event());
          out += stream_end;
        }
      } catch (const ApiError& e) {
        write(sink, out + event_text(e.json()));
        metrics.failed(e.status);
        finished(e.status);
        sink.done();
        return true;
      }
      if (out.empty() && Clock::now() - progress->said > say_alive) out = stream_comment;
      if (!out.empty()) progress->said = Clock::now();
      if (left(socket) || (!out.empty() && !write(sink, out))) {
        finished(499);
        return false;
      }
      if (r->over() && out.ends_with(stream_end)) {
        finished(200);
        sink.done();
      }
      return true;
    });
    res.status = 200;
    res.set_header("Cache-Control", "no-cache");
  }

  // A last piece that brings text is two events: the text, and the end.
  static std::string split(const Reply& r, Piece piece) {
    std::string out;
    const std::string reason = piece.finish_reason;
    if (!piece.text.empty() || reason.empty()) {
      piece.finish_reason.clear();
      out = event_text(r.event(piece));
    }
    if (!reason.empty()) out += event_text(r.event({piece.choice, "", {}, reason}));
    return out;
  }

  // Every answer passes here, so that every error has the API's form.
  template <class F>
  void guarded(const httplib::Request& req, httplib::Response& res, F&& f) {
    bool told = false;
    try {
      check_key(req);
      f();
      told = req.method == "POST" && res.has_header("x-request-id");
    } catch (const ApiError& e) { refuse(res, e); } catch (const ov::Error& e) {
      refuse(res, ApiError(e.exit() == Exit::wrong_input ? 400 : 500, e.what()));
    } catch (const std::bad_alloc&) { refuse(res, ApiError(500, "out of memory")); } catch (const std::exception& e) {
      refuse(res, ApiError(500, cat("internal error: ", e.what())));
    }
    if (!told && req.path != "/health" && req.path != "/metrics")
      log(req.remote_addr, req.method, req.path, res.status);
  }

  void routes() {
    http.Get(".*", [this](const auto& req, auto& res) { guarded(req, res, [&] { res.status = 200, get(req, res); }); });
    http.Options(".*", [](const auto&, auto& res) { res.status = 204; });
    http.Post(".*", [this](const httplib::Request& req, httplib::Response& res, const httplib::ContentReader& read) {
      std::string body;
      Bodies::Share share(bodies);
      const bool whole = read([&](const char* data, std::size_t n) {
        share.add(static_cast<std::int64_t>(n));
        return body.append(data, n), true;
      });
      guarded(req, res, [&] {
        if (res.status == 413)
          throw ApiError(413, cat("the body has more than ", options.max_body, " bytes (serve.max_body_mb)"));
        if (!whole) throw ApiError(400, "the body is not complete");
        post(req, res, body, share);
      });
    });
    http.set_error_handler([this](const httplib::Request& req, httplib::Response& res) {
      if (!res.body.empty() || res.status < 400) return;
      const int status = res.status;
      answer(res,
             ApiError(status, status == 404 || status == 405
                                  ? cat("no such path or method: ", shown(req.method, 20), " ", shown(req.path, 80))
                                  : cat("a request that HTTP does not allow (", status, ")"))
                 .json(),
             status);
    });
    http.set_default_headers({{"Access-Control-Allow-Origin", "*"},
                              {"Access-Control-Allow-Methods", "GET, POST, OPTIONS"},
                              {"Access-Control-Allow-Headers", "*"}});
  }

  const Service& service;
  Engine& engine;
  const ServerOptions options;
  const std::int64_t started = static_cast<std::int64_t>(std::time(nullptr));
  httplib::Server http;
  Metrics metrics;
  Bodies bodies;
  Turns looking{3}, reading{1};  // at requests with pictures, and at the others
  std::atomic<bool> draining = false, aborted = false, ended = false;
  std::atomic<int> active = 0;
  int port = 0, listener = -1;
  std::unique_ptr<Workers> workers;
  std::thread listening, stepping;
};

// Else glibc keeps the largest that each of eight arenas a core ever held, and a server that was never asked for much
// at once grows for days.
void give_memory_back() {
  ::mallopt(M_ARENA_MAX, 4), ::mallopt(M_MMAP_THRESHOLD, 1 << 20), ::mallopt(M_TRIM_THRESHOLD, 1 << 22);
}

Server::Server(const Service& service, Engine& engine, const ServerOptions& options)
    : inside_((load_http(), std::make_unique<Inside>(service, engine, options))) {
  Inside& s = *inside_;
  s.routes();
  s.http.new_task_queue = [&s] { return s.workers.release(); };
  s.http.set_payload_max_length(static_cast<std::size_t>(options.max_body));
  s.http.set_keep_alive_max_count(1u << 30);
  s.http.set_keep_alive_timeout(std::min<std::int64_t>(5, options.read_timeout_s));
  s.http.set_read_timeout(options.read_timeout_s), s.http.set_write_timeout(options.read_timeout_s);
  s.http.set_tcp_nodelay(true);
  // Without httplib's SO_REUSEPORT: a second server on the same port would get half of the requests.
  s.http.set_socket_options([&s](int socket) {
    const int yes = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    s.listener = socket;
  });
  const bool any = options.port == 0;
  errno = 0;
  s.port = any ? s.http.bind_to_any_port(options.host) : static_cast<int>(options.port);
  if (any ? s.port < 0 : !s.http.bind_to_port(options.host, s.port))
    machine_error("serve: cannot listen on ", options.host, " port ", options.port, ": ",
                  errno ? std::strerror(errno) : "no such address", " (serve.host, port)");
  // httplib's queue has room for 5 clients that connect at the same time; the sixth would wait a second.
  if (::listen(s.listener, SOMAXCONN) != 0)
    machine_error("serve: cannot listen on ", options.host, " port ", s.port, ": ", std::strerror(errno));
  const auto undo = [&s] {
    s.ended = true;
    if (s.stepping.joinable()) s.stepping.join();
    ::close(s.listener);
  };
  try {
    s.workers = std::make_unique<Workers>(static_cast<std::size_t>(options.connections));
    s.stepping = std::thread([&s] {
      while (!s.ended)
        if (!s.engine.step()) s.engine.wait(milliseconds(100));
    });
    s.listening = std::thread([&s] { s.http.listen_after_bind(); });
  } catch (const std::system_error& e) {
    undo();
    machine_error("serve: cannot start a thread: ", e.what());
  } catch (...) {
    undo();
    throw;
  }
}

std::int64_t Server::port() const { return inside_->port; }

void Server::stop() {
  Inside& s = *inside_;
  if (!s.listening.joinable()) return;
  s.draining = true;
  const auto end = Clock::now() + std::chrono::seconds(s.options.drain_s);
  while (s.active > 0 && Clock::now() < end) std::this_thread::sleep_for(milliseconds(20));
  s.aborted = true;
  while (!s.http.is_running()) std::this_thread::sleep_for(milliseconds(1));
  s.http.stop();
  s.listening.join();
  s.ended = true;
  s.stepping.join();
}

Server::~Server() { stop(); }

}  // namespace ov::serve
