// The server on the loopback: its paths, streams, clients that leave, and requests that are none.
#include "serve/server.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/io/file.h"
#include "base/utf8.h"
#include "serve/chat.h"
#include "serve/http.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/serve/served_model.h"

using namespace ov;
using namespace ov::test;

namespace {

struct Running {
  explicit Running(serve::ServerOptions options = {}, EngineOptions engine_options = SmallService{}.engine())
      : service(small.service()), engine(*small.model, engine_options) {
    options.port = 0;
    server = std::make_unique<serve::Server>(service, engine, options);
  }
  httplib::Client client() const {
    httplib::Client c("127.0.0.1", static_cast<int>(server->port()));
    c.set_read_timeout(60);
    return c;
  }
  Json post(const std::string& path, const std::string& body, int status = 200) const {
    auto c = client();
    const auto r = c.Post(path, body, "application/json");
    REQUIRE(r);
    CHECK_MESSAGE(r->status == status, r->body);
    return Json::parse(r->body, "answer");
  }
  SmallService small;
  serve::Service service;
  Engine engine;
  std::unique_ptr<serve::Server> server;
};

// Bytes as they are, over a connection of their own; what comes back until the server closes, or `most` seconds.
std::string raw(const Running& r, const std::string& bytes, bool half_close = false, int most = 2) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET, to.sin_port = htons(static_cast<std::uint16_t>(r.server->port()));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval limit{.tv_sec = most, .tv_usec = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  std::string got;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) {
    ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (half_close) ::shutdown(fd, SHUT_WR);
    char buffer[4096];
    for (ssize_t n; most > 0 && (n = ::recv(fd, buffer, sizeof buffer, 0)) > 0;)
      got.append(buffer, static_cast<std::size_t>(n));
  }
  ::close(fd);
  return got;
}

std::string http(const std::string& body, const std::string& path = "/v1/chat/completions") {
  return cat("POST ", path, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ", body.size(), "\r\n\r\n",
             body);
}

std::ptrdiff_t open_files() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
}

template <class F>
bool soon(F&& f) {
  for (int i = 0; i < 500; ++i) {
    if (f()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace

TEST_CASE("server: models, health, tokens, templates, metrics; unknown paths, methods and keys are told apart") {
  const Running r({.api_key = "secret"});
  auto c = r.client();
  const auto status = [](const httplib::Result& result) { return result ? result->status : 0; };
  CHECK(status(c.Get("/health")) == 200);
  CHECK(status(c.Get("/v1/models")) == 401);
  CHECK(Json::parse(c.Get("/v1/models")->body, "x").at("error").at("type").as_string() == "authentication_error");
  c.set_bearer_token_auth("secre");
  CHECK(status(c.Get("/v1/models")) == 401);
  c.set_bearer_token_auth("secret");
  const Json models = Json::parse(c.Get("/v1/models")->body, "x");
  CHECK(models.at("data")[0].at("id").as_string() == r.service.name);
  CHECK(status(c.Get("/models")) == 200);
  CHECK(status(c.Get("/v1/models/" + r.service.name)) == 200);
  CHECK(status(c.Get("/v1/models/other")) == 404);
  CHECK(status(c.Get("/nothing")) == 404);
  CHECK(status(c.Get("/v1/chat/completions")) == 405);
  CHECK(status(c.Post("/v1/models", "{}", "application/json")) == 405);
  CHECK(status(c.Put("/v1/models", "{}", "application/json")) == 404);
  CHECK(Json::parse(c.Put("/v1/models", "{}", "application/json")->body, "x").at("error").at("message").as_string() !=
        "");
  CHECK(c.Options("/v1/chat/completions")->get_header_value("Access-Control-Allow-Origin") == "*");
  const std::string text = "gr\xc3\xbc\xc3\x9f <|im_end|>";
  const auto post = [&](const char* path, const std::string& body) {
    return Json::parse(c.Post(path, body, "application/json")->body, "x");
  };
  const Json tokens = post("/tokenize", Json::object({{"prompt", text}}).dump());
  CHECK(tokens.at("tokens").dump() == Json(r.small.processor.tokenizer().encode(text)).dump());
  CHECK(post("/detokenize", Json::object({{"tokens", tokens.at("tokens")}}).dump()).at("prompt").as_string() == text);
  CHECK(contains(post("/apply-template", user("\"Hi\"") + "}").at("prompt").as_string(),
                 "<|im_start|>user\nHi<|im_end|>"));
  CHECK(status(c.Post("/v1/chat/completions", user("\"x\"") + R"(,"max_tokens":2})",
                      "application/x-www-form-urlencoded")) == 200);
  const std::string metrics = c.Get("/metrics")->body;
  CHECK(contains(metrics, "llavaov:generation_tokens_total 2"));
  CHECK(contains(metrics, "llavaov:request_success_total{finish_reason=\"length\"} 1"));
}

TEST_CASE("server: a stream says what the whole answer says, in order, and closes with usage and [DONE]") {
  const Running r;
  const std::string ask = user("\"Tell me.\"") + R"(,"max_tokens":40,"temperature":1,"seed":3,"n":2,"logprobs":true)";
  const Json whole = r.post("/v1/chat/completions", ask + "}");
  auto c = r.client();
  const auto s = c.Post("/v1/chat/completions", ask + R"(,"stream":true,"stream_options":{"include_usage":true}})",
                        "application/json");
  REQUIRE(s);
  CHECK(s->get_header_value("Content-Type") == "text/event-stream");
  std::string text[2], id;
  std::size_t tokens[2] = {};
  int ends = 0, events = 0;
  bool done = false;
  Json usage;
  std::istringstream lines(s->body);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line[0] == ':') continue;
    REQUIRE(line.find("data: ") == 0);
    CHECK_FALSE(done);
    if ((done = line == "data: [DONE]")) continue;
    const Json e = Json::parse(line.substr(6), "event");
    CHECK(e.at("object").as_string() == "chat.completion.chunk");
    if (events++ == 0) id = e.at("id").as_string();
    CHECK(e.at("id").as_string() == id);
    CHECK(ends < 3);
    if (e.at("choices").size() == 0) {
      usage = e.at("usage");
      continue;
    }
    CHECK(e.at("usage").is_null());
    const Json& choice = e.at("choices")[0];
    const auto i = static_cast<std::size_t>(choice.at("index").as_int());
    if (const Json* part = choice.at("delta").find("content")) text[i] += part->as_string();
    if (!choice.at("logprobs").is_null()) tokens[i] += choice.at("logprobs").at("content").size();
    ends += !choice.at("finish_reason").is_null();
  }
  CHECK(done);
  CHECK(ends == 2);
  for (const std::size_t i : {0, 1}) {
    CHECK(text[i] == whole.at("choices")[i].at("message").at("content").as_string());
    CHECK(tokens[i] == whole.at("choices")[i].at("logprobs").at("content").size());
  }
  CHECK(usage.dump() == [&] {
    Json u = whole.at("usage");
    u.set("prompt_tokens_details", usage.at("prompt_tokens_details"));  // how much was shared is another matter
    return u.dump();
  }());
}

TEST_CASE("server: a client that leaves takes its answers with it, whether it streams or not") {
  const Running r;
  for (const char* stream : {"false", "true"}) {
    const std::int64_t before = r.engine.stats().new_tokens;
    raw(r,
        http(user("\"x\"") + R"(,"max_tokens":450,"n":64,"temperature":1,"ignore_eos":true,"stream":)" + stream + "}"),
        false, 0);
    CHECK(soon([&] { return r.engine.stats().new_tokens > before; }));
    CHECK(soon([&] { return r.engine.stats().running + r.engine.stats().waiting == 0; }));
    CHECK(r.engine.stats().new_tokens - before < 64 * 450);
  }
  CHECK(r.engine.stats().used_pages == 0);
}

TEST_CASE(
    "server: under fire: malformed requests are refused, healthy ones get the bits they get alone, nothing leaks") {
  const auto start = open_files();
  {
    const Running r({.max_body = 1 << 20, .read_timeout_s = 1});
    std::vector<std::string> asks, alone;
    for (int i = 0; i < 12; ++i) {
      asks.push_back(user(cat("\"question ", i, "\"")) + cat(R"(,"logprobs":true,"seed":)", i, R"(,"temperature":)",
                                                             i % 2, R"(,"max_tokens":)", 3 + 2 * i, "}"));
      const Json a = r.post("/v1/chat/completions", asks.back());
      alone.push_back(a.at("choices").dump());
    }
    const std::string good = user("\"x\"") + "}";
    const std::vector<std::string> bad = {
        http("{"),
        http("[]"),
        http("\xff\xfe"),
        http(std::string(3000, '[')),
        http(user("\"\\ud800\"") + "}"),
        http(user("[{}]") + "}"),
        http(user(R"([{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}])") + "}"),
        http(R"({"messages":[{"role":"nobody","content":"x"}]})"),
        http(std::string(1500000, 'x')),
        http(good, "/v1/none"),
        "GARBAGE\r\n\r\n",
        "POST / HTTP/9.9\r\n\r\n",
        "GET /" + std::string(20000, 'a') + " HTTP/1.1\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{",
        "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "",
        "G",
        std::string(100, '\0')};
    std::atomic<int> same{0}, refused{0};
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 10; ++t)
      threads.emplace_back([&, t] {
        for (std::size_t k = 0; k < 12; ++k) {
          const std::size_t q = (t * 5 + k) % asks.size();
          if (k % 3 == 2) {
            const std::string& bytes = bad[(t * 4 + k / 3) % bad.size()];
            const std::string got = raw(r, bytes, t % 2, 4);
            // An answer in the 4xx, or a connection that is closed; never a 5xx, never a 200.
            refused += got.empty() || got.find("HTTP/1.1 4") == 0;
            continue;
          }
          auto c = r.client();
          const auto a = c.Post("/v1/chat/completions", asks[q], "application/json");
          same += a && a->status == 200 && Json::parse(a->body, "x").at("choices").dump() == alone[q];
        }
      });
    for (auto& t : threads) t.join();
    CHECK(same == 10 * 8);
    CHECK(refused == 10 * 4);
    CHECK(soon([&] { return r.engine.stats().running + r.engine.stats().waiting == 0; }));
    CHECK(r.engine.stats().used_pages == 0);
  }
  CHECK(soon([&] { return open_files() == start; }));
}

TEST_CASE(
    "chat: turns, pictures, commands; the same here and through a server; an answer can be stopped, an error undone") {
  const Running r({.api_key = "k"});
  const ScratchDirectory dir;
  Engine here(*r.small.model, r.small.engine());
  const std::string url = cat("http://127.0.0.1:", r.server->port(), "/v1");
  std::string said[2], saved[2];
  for (const int i : {0, 1}) {
    serve::Chat chat(i ? serve::speaker_at(url, "k") : serve::speaker_here(r.service, here),
                     Json::object({{"max_tokens", 12}, {"seed", 3}, {"temperature", 1}}), {});
    const auto type = [&](const std::string& line) {
      return chat.line(line, [&](const std::string& piece) {
        CHECK(utf8_prefix(piece) == piece.size());
        return said[i] += piece, true;
      });
    };
    CHECK(type("/system Be brief."));
    CHECK(type("/image tests/golden/images/tiny.png"));
    CHECK(type("What is this?"));
    CHECK(type("And this?"));
    const std::string before = chat.messages().dump();
    CHECK(chat.messages().size() == 5);
    CHECK(type("/image tests/golden/README.md"));  // no picture: told, and nothing changes
    CHECK(type("\xff"));
    CHECK(chat.messages().dump() == before);
    CHECK(type("/regen"));
    CHECK(chat.messages().size() == 5);
    CHECK(chat.messages().dump() != before);
    CHECK(type("/save " + (dir / "talk.json")));
    saved[i] = read_file(dir / "talk.json");
    std::size_t pieces = 0;
    CHECK(chat.line("Go on.", [&](const std::string&) { return ++pieces < 2; }));
    CHECK(pieces == 2);
    CHECK(chat.messages().size() == 7);
    CHECK(type("/clear"));
    CHECK(chat.messages().size() == 0);
    CHECK_FALSE(type("/quit"));
  }
  CHECK(said[0] == said[1]);
  CHECK(saved[0] == saved[1]);
  CHECK(contains(saved[0], "Be brief."));
  serve::Chat wrong(serve::speaker_at(url, "other"), Json::object(), {});
  std::string told;
  CHECK(wrong.line("Hi", [&](const std::string& piece) { return told += piece, true; }));
  CHECK(contains(told, "401"));
  CHECK(wrong.messages().size() == 0);
}

TEST_CASE("server: bodies beyond the budget wait for others, the first never; all are answered") {
  const Running r({.max_bodies = 1 << 16});
  const std::string large = user("\"x\"") + ",\"max_tokens\":2,\"user\":\"" + std::string(50000, 'u') + "\"}";
  std::atomic<int> answered{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 12; ++i)
    threads.emplace_back([&] {
      auto c = r.client();
      const auto a = c.Post("/v1/chat/completions", large, "application/json");
      answered += a && a->status == 200;
    });
  for (auto& t : threads) t.join();
  CHECK(answered == 12);
}

TEST_CASE("server: more than may wait is 503, too long for the cache is 400; stopping lets those finish that run") {
  EngineOptions engine = SmallService{}.engine();
  engine.max_running = 1, engine.max_waiting = 2;
  Running r({.drain_s = 20}, engine);
  const Json full = r.post("/v1/chat/completions", user("\"x\"") + R"(,"n":8,"max_tokens":400})", 503);
  CHECK(full.at("error").at("type").as_string() == "server_error");
  CHECK(soon([&] { return r.engine.stats().running + r.engine.stats().waiting == 0; }));
  int status = 0;
  std::string reason;
  const std::int64_t before = r.engine.stats().new_tokens;
  std::thread asks([&] {
    auto c = r.client();
    const auto a =
        c.Post("/v1/chat/completions", user("\"x\"") + R"(,"max_tokens":400,"ignore_eos":true})", "application/json");
    if (a) status = a->status, reason = Json::parse(a->body, "x").at("choices")[0].at("finish_reason").as_string();
  });
  CHECK(soon([&] { return r.engine.stats().new_tokens > before; }));
  r.server->stop();
  asks.join();
  CHECK(status == 200);
  CHECK(reason == "length");
  auto c = r.client();
  CHECK_FALSE(c.Get("/health"));
}
