// Who answers an evaluation's requests: the model here and a server give the same; faults of a server are told.
#include "serve/askers.h"

#include <pthread.h>

#include <atomic>
#include <map>

#include "tests/check.h"
#include "tests/serve/running_server.h"

using namespace ov;
using namespace ov::test;

namespace {

std::vector<std::string> answers(const Asker& asker, std::size_t n) {
  std::vector<std::string> out(n);
  asker(
      n,
      [](std::size_t i) {
        // Every fifth is no question.
        return Json::parse(i % 5 == 4 ? R"({"messages":[]})" : user(cat("\"number ", i, "\"")) + R"(,"max_tokens":5})",
                           "body");
      },
      [&](std::size_t i, const Json& answer) {
        CHECK(out[i].empty());
        const Json* error = answer.find("error");
        out[i] = error ? "error: " + error->at("message").as_string() : answer.at("choices").dump();
      });
  return out;
}

// A server that answers what `f` says, and counts.
struct Fake {
  explicit Fake(std::function<void(int, httplib::Response&)> f) {
    http.Post(".*", [this, f](const httplib::Request&, httplib::Response& res) { f(requests++, res); });
    port = http.bind_to_any_port("127.0.0.1");
    thread = std::thread([this] { http.listen_after_bind(); });
    while (!http.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ~Fake() { http.stop(), thread.join(); }
  std::string url() const { return cat("http://127.0.0.1:", port, "/v1"); }
  httplib::Server http;
  std::atomic<int> requests{0};
  int port = 0;
  std::thread thread;
};

std::string one(const Fake& fake, int tries = 3) {
  std::string said;
  serve::asker_at(fake.url(), "", 4, tries)(
      1, [](std::size_t) { return Json::object(); }, [&](std::size_t, const Json& answer) { said = answer.dump(); });
  return said;
}

}  // namespace

TEST_CASE("askers: the model in this process and a server give the same answers, however many are asked at once") {
  const Running r({.api_key = "k"});
  Engine here(*r.small.model, r.small.engine());
  const auto own = answers(serve::asker_here(r.service, here, 3), 23);
  CHECK(own == answers(serve::asker_here(r.service, here, 64), 23));
  const auto there = answers(serve::asker_at(cat("http://127.0.0.1:", r.server->port(), "/v1"), "k", 8), 23);
  for (std::size_t i = 0; i < own.size(); ++i) {
    CHECK(own[i].starts_with("error") == (i % 5 == 4));
    if (i % 5 == 4) CHECK(there[i].starts_with("error: status 400"));
    else CHECK(own[i] == there[i]);
  }
}

TEST_CASE("askers: where threads cannot start, fewer do the work; where none can, it is told") {
  pthread_attr_t usual, none;
  REQUIRE(::pthread_getattr_default_np(&usual) == 0);
  REQUIRE(::pthread_attr_init(&none) == 0);
  REQUIRE(::pthread_attr_setstacksize(&none, std::size_t{1} << 48) == 0);  // more than there are addresses
  constexpr std::size_t n = 100000;
  const auto ask = [&](Exit exit) {
    return thrown(
        [&] {
          serve::asker_at("http://127.0.0.1:9/v1", "", n)(
              n,
              [&](std::size_t) -> Json {
                ::pthread_setattr_default_np(&none);
                input_error("the first ends it");
              },
              [](std::size_t, const Json&) {});
        },
        exit);
  };
  const std::string some = ask(Exit::wrong_input), nobody = ask(Exit::machine_failed);
  ::pthread_setattr_default_np(&usual);
  ::pthread_attr_destroy(&none), ::pthread_attr_destroy(&usual);
  CHECK(some == "the first ends it");
  CHECK(contains(nobody, "cannot start a thread"));
}

TEST_CASE("askers: what may pass is tried again, what is refused is not, and an answer that is none is told") {
  const char* good = R"({"choices":[{"message":{"content":"x"}}]})";
  {
    const Fake once([&](int n, auto& res) {
      res.status = n == 0 ? 503 : 200;
      if (n == 0) res.set_header("retry-after", "0.01");
      res.set_content(n == 0 ? "busy" : good, "application/json");
    });
    CHECK(one(once) == good);
    CHECK(once.requests == 2);
  }
  {
    const Fake never([](int, auto& res) {
      res.status = 500, res.set_header("retry-after", "0.01"), res.set_content("broken", "text/plain");
    });
    CHECK(contains(one(never), "status 500"));
    CHECK(never.requests == 3);
  }
  {
    const Fake refuses([](int, auto& res) { res.status = 400, res.set_content("no", "text/plain"); });
    CHECK(contains(one(refuses), "status 400"));
    CHECK(refuses.requests == 1);
  }
  for (const char* body : {"{}", "[]", "no JSON", R"({"choices":[]})"}) {
    const Fake odd([&](int, auto& res) { res.set_content(body, "application/json"); });
    CHECK(contains(one(odd), "error"));
    CHECK(odd.requests == 1);
  }
  CHECK(contains(thrown([] { serve::asker_at("localhost:1", ""); }), "http://host:port/v1"));
  // What goes wrong here ends the evaluation, with its own words.
  const Fake fine([&](int, auto& res) { res.set_content(good, "application/json"); });
  CHECK(contains(thrown([&] {
                   serve::asker_at(fine.url(), "", 2)(
                       9, [](std::size_t) -> Json { input_error("no such picture"); }, [](std::size_t, const Json&) {});
                 }),
                 "no such picture"));
}

TEST_CASE("askers: why there was no answer is told in words, with the system's reason where it gave one") {
  for (int e = 0; e < 20; ++e) {
    const auto error = static_cast<httplib::Error>(e);
    if (error == httplib::Error::Success || to_string(error) == "Invalid") continue;
    const std::string said = serve::http_fault(error);
    CHECK_MESSAGE(
        (said != to_string(error) || error == httplib::Error::Unknown || error == httplib::Error::BindIPAddress ||
         error == httplib::Error::Compression || error == httplib::Error::UnsupportedMultipartBoundaryChars),
        said);
  }
  CHECK(serve::http_fault(httplib::Error::Connection) == "no connection");
  for (const char* origin : {"http://127.0.0.1:9", "http://[::1]:9"}) {
    const std::string why = serve::http_fault(httplib::Error::Connection, origin);
    CHECK_MESSAGE((why == "Connection refused" || why == "Cannot assign requested address" ||
                   why == "Network is unreachable" || why == "Address family not supported by protocol"),
                  why);
  }
  CHECK(serve::http_fault(httplib::Error::Connection, "http://no-such-host.invalid") != "no connection");
  std::string told;  // where no server runs
  serve::asker_at("http://127.0.0.1:9/v1", "", 1)(
      1,
      [](std::size_t) {
        return Json::object({{"messages", Json::array()}});
      },
      [&](std::size_t, const Json& answer) { told = answer.dump(); });
  CHECK(contains(told, "cannot reach http://127.0.0.1:9: Connection refused; does a server run there?"));
}

TEST_CASE("askers: an answer without end is cut at a bound, and only http is spoken") {
  const Fake endless([](int, httplib::Response& res) {
    res.set_content_provider("application/json", [](std::size_t, httplib::DataSink& sink) {
      static const std::string blanks(1 << 20, ' ');
      return sink.write(blanks.data(), blanks.size());
    });
  });
  CHECK(contains(one(endless), "more than 4 MB"));
  CHECK(contains(thrown([] { serve::address_of("ftp://host/v1", "eval.url"); }), "expected http"));
}
