// The server on the loopback: its paths, streams, clients that leave, and requests that are none.

#include <doctest/doctest.h>
#include <pthread.h>
#include <sys/resource.h>

#include <atomic>
#include <ctime>
#include <fstream>

#include "base/base64.h"
#include "base/io/file.h"
#include "base/sanitizer.h"
#include "base/utf8.h"
#include "image/encode.h"
#include "serve/chat.h"
#include "serve/turns.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/serve/running_server.h"

using namespace ov;
using namespace ov::test;

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
  CHECK(status(httplib::Client("127.0.0.1", static_cast<int>(r.server->port())).Get("/")) == 200);  // asks for a key
  CHECK(c.Get("/")->get_header_value("Content-Type").find("text/html") == 0);
  CHECK(status(c.Post("/detokenize", R"({"tokens":[999999999]})", "application/json")) == 400);
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
  // The engine counts when its step ends, which may be after the answer left.
  CHECK(soon([&] { return contains(c.Get("/metrics")->body, "llavaov:generation_tokens_total 2"); }));
  CHECK(contains(c.Get("/metrics")->body, "llavaov:request_success_total{finish_reason=\"length\"} 1"));
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

TEST_CASE("server: a client that leaves takes its answers with it, whether it streams or not (E-01)") {
  const Running r;
  for (const char* stream : {"false", "true"}) {
    const std::int64_t before = r.engine.stats().new_tokens;
    raw(r,
        http(user("\"x\"") + R"(,"max_tokens":450,"n":64,"temperature":1,"ignore_eos":true,"stream":)" + stream + "}"),
        false, 0, [&] { CHECK(soon([&] { return r.engine.stats().new_tokens > before; })); });
    CHECK(soon([&] { return r.engine.stats().running + r.engine.stats().waiting == 0; }));
    CHECK(r.engine.stats().new_tokens - before < 64 * 450);
  }
  CHECK(r.engine.stats().used_pages == 0);
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
    CHECK(type("/image tests/golden/images_fast/tiny.png"));
    CHECK(type("What is this?"));
    CHECK(type("And this?"));
    const std::string before = chat.messages().dump();
    CHECK(chat.messages().size() == 5);
    CHECK(type("/image tests/golden/README.md"));  // no picture: told, and nothing changes
    CHECK(type("\xff"));
    CHECK(chat.exit() == Exit::wrong_input);
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

TEST_CASE(
    "chat: an answer whose connection is cut is told as that, with half an event and without; a whole one is taken") {
  const std::string piece = R"(data: {"choices":[{"delta":{"content":"x"}}]})"
                            "\n\n";
  const std::string end = R"(data: {"choices":[{"delta":{},"finish_reason":"stop"}]})"
                          "\n\n";
  std::string sends;
  bool cut = true, chunked = true;
  httplib::Server http;
  http.Post(".*", [&](const httplib::Request&, httplib::Response& res) {
    const auto provider = [&](std::size_t, httplib::DataSink& sink) {
      sink.write(sends.data(), sends.size());
      if (!cut) sink.done();
      return !cut;
    };
    if (chunked) res.set_chunked_content_provider("text/event-stream", provider);
    else res.set_content_provider("text/event-stream", provider);
  });
  const int port = http.bind_to_any_port("127.0.0.1");
  std::thread thread([&] { http.listen_after_bind(); });
  const auto told = [&](const std::string& text, bool breaks) {
    sends = text, cut = breaks;
    serve::Chat chat(serve::speaker_at(cat("http://127.0.0.1:", port, "/v1"), ""), Json::object(), {});
    std::string all;
    chat.line("Hi", [&](const std::string& said) { return all += said, true; });
    return std::pair(all, chat.messages().size());
  };
  for (const std::string& half : {std::string(), std::string("data: {\"choi"), piece.substr(0, piece.size() - 2)}) {
    for (const bool of : {true, false}) {
      chunked = of;
      const auto said = told(piece + half, of);
      CHECK_MESSAGE(contains(said.first, "was lost"), said.first);
      CHECK(said.second == 0);
    }
  }
  chunked = true;
  CHECK(contains(told(piece, false).first, "was lost"));
  CHECK(told(piece + end, true) == std::pair(std::string("x"), std::size_t{2}));
  CHECK(told(piece + "data: [DONE]", false) == std::pair(std::string("x"), std::size_t{2}));
  http.stop();
  thread.join();
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
  std::string body;
  std::thread asks([&] {
    auto c = r.client();
    const auto a =
        c.Post("/v1/chat/completions", user("\"x\"") + R"(,"max_tokens":400,"ignore_eos":true})", "application/json");
    if (a) status = a->status, body = a->body;
  });
  CHECK(soon([&] { return r.engine.stats().running == 1; }));
  r.server->stop();
  asks.join();
  CHECK_MESSAGE(status == 200, body);
  CHECK(contains(body, "\"finish_reason\":\"length\""));
  auto c = r.client();
  CHECK_FALSE(c.Get("/health"));
}

TEST_CASE("server: turns are given in the order of arrival, so many at a time") {
  for (const int at_once : {1, 2}) {
    CAPTURE(at_once);
    serve::Turns turns(static_cast<std::uint64_t>(at_once));
    std::mutex lock;
    std::vector<int> order;
    std::atomic<int> inside{0}, most{0};
    std::vector<std::thread> threads;
    {
      std::vector<std::unique_ptr<serve::Turns::Turn>> held;
      for (int i = 0; i < at_once; ++i) held.push_back(std::make_unique<serve::Turns::Turn>(turns));
      for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&, i] {
          const serve::Turns::Turn mine(turns);
          most = std::max<int>(most, ++inside);
          {
            const std::lock_guard hold(lock);
            order.push_back(i);
          }
          --inside;
        });
        CHECK(soon([&] { return turns.came() == static_cast<std::uint64_t>(at_once + i + 1); }));
      }
      const std::lock_guard hold(lock);
      CHECK(order.empty());
    }
    for (auto& t : threads) t.join();
    CHECK(most <= at_once);
    REQUIRE(order.size() == 8);
    for (int i = 0; at_once == 1 && i < 8; ++i) CHECK(order[static_cast<std::size_t>(i)] == i);
  }
}

TEST_CASE("server: a question without a picture does not wait until others' large pictures are decoded") {
  const Running r;
  const std::string large = "data:image/png;base64," + to_base64(encode_png(Image(4000, 4000)));
  std::string parts;
  for (const std::string& url : {large, large, large, std::string("data:image/png;base64,AAAA")})  // the last is none
    parts += cat(parts.empty() ? "" : ",", R"({"type":"image_url","image_url":{"url":")", url, "\"}}");
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 9; ++i)
    threads.emplace_back([&] {
      const auto a = r.client().Post("/v1/chat/completions", user("[" + parts + "]") + "}", "application/json");
      refused += a && a->status == 400;
    });
  // They are being decoded: three such pictures take more of the processor than this, nine times.
  const std::clock_t begun = std::clock();
  while (std::clock() - begun < CLOCKS_PER_SEC / 10) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  r.post("/v1/chat/completions", user("\"x\"") + R"(,"max_tokens":1})");
  CHECK(refused < 5);  // in their queue it would come after eight at least
  for (auto& t : threads) t.join();
  CHECK(refused == 9);
}

TEST_CASE("server: where its threads cannot start it is told, whichever it is, and nothing is left") {
  const SmallService small;
  const serve::Service service = small.service();
  Engine engine(*small.model, small.engine());
  const auto start = open_files();
  pthread_attr_t usual, none;
  REQUIRE(::pthread_getattr_default_np(&usual) == 0);
  REQUIRE(::pthread_attr_init(&none) == 0);
  REQUIRE(::pthread_attr_setstacksize(&none, std::size_t{1} << 48) == 0);  // more than there are addresses
  ::pthread_setattr_default_np(&none);
  const std::string told =
      thrown([&] { serve::Server(service, engine, {.port = 0, .connections = 4}); }, Exit::machine_failed);
  ::pthread_setattr_default_np(&usual);
  ::pthread_attr_destroy(&none), ::pthread_attr_destroy(&usual);
  CHECK_MESSAGE(contains(told, "cannot start 4 threads for connections (serve.connections), only 0"), told);
  CHECK(open_files() == start);
  if (sanitized) return;  // which takes more addresses than the limit leaves
  // A few start, and then there is no room for another's stack.
  const int code = in_child([&] {
    std::int64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t most = static_cast<rlim_t>(pages * ::sysconf(_SC_PAGESIZE)) + (rlim_t{100} << 20);
    const rlimit limit{.rlim_cur = most, .rlim_max = most};
    ::setrlimit(RLIMIT_AS, &limit);
    serve::Server(service, engine, {.port = 0, .connections = 4096});
  });
  CHECK(code == static_cast<int>(Exit::machine_failed));
}
