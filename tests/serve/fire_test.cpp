// The server under fire: many clients at once, a third of whose requests are no requests, on the loopback.
#include <atomic>
#include <fstream>

#include "base/base64.h"
#include "base/io/file.h"
#include "base/sanitizer.h"
#include "image/encode.h"
#include "tests/check.h"
#include "tests/serve/running_server.h"

using namespace ov;
using namespace ov::test;

namespace {

std::string with(const std::string& members) { return http(user("\"x\"") + "," + members + "}"); }
std::string with_picture(const std::string& url) {
  return http(user(R"([{"type":"image_url","image_url":{"url":")" + url + "\"}}]") + "}");
}
std::string data_url(const std::string& bytes) { return "data:image/png;base64," + to_base64(bytes); }

struct Bad {
  std::string bytes;
  bool half_close = false;
};

// Requests that end in a refusal or a closed connection. The server takes bodies of 1 MB and pictures of 2^20 pixels.
std::vector<Bad> bad_requests() {
  std::string bomb = encode_png(Image(2000, 2000)), giant = bomb;
  giant.replace(16, 8, std::string("\x00\x01\x00\x00\x00\x01\x00\x00", 8));  // 65536 x 65536
  const std::string tiny = read_file("tests/golden/images_fast/tiny.png");
  std::string deep;
  for (int i = 0; i < 400; ++i) deep += "{\"image_url\":";
  std::vector<Bad> all;
  const auto add = [&](const std::string& bytes) { all.push_back({bytes}); };
  for (const char* body : {"", "{", "[]", "7", "\xff\xfe", "{\"messages\":", "{\"a\":1}}", "nul", "{\"messages\":{}}",
                           "{\"messages\":[]}", "{\"messages\":[7]}", "{\"messages\":[{\"role\":1}]}"})
    add(http(body));
  add(http(std::string(3000, '[')));
  add(http(std::string(100000, '{')));
  add(http(user("[" + deep + "\"x\"" + std::string(400, '}') + "]") + "}"));
  for (const char* content : {"\"\\ud800\"", "\"\xc3(\"", "\"\xed\xa0\x80\"", "\"\xf5\"", "7", "{}", "[{}]", "[7]",
                              "null", R"([{"type":"audio"}])", R"([{"type":"text"}])", R"([{"type":"image_url"}])",
                              R"([{"type":"image_url","image_url":{"url":7}}])"})
    add(http(user(content) + "}"));
  for (const char* role : {"nobody", "tool", "", "User"})
    add(http(cat(R"({"messages":[{"role":")", role, R"(","content":"x"}]})")));
  for (const char* members : {R"("temperature":"hot")",
                              R"("temperature":-1)",
                              R"("temperature":1e400)",
                              R"("top_p":[])",
                              R"("top_k":1.5)",
                              R"("min_p":2)",
                              R"("n":0)",
                              R"("n":1000000000)",
                              R"("max_tokens":-1)",
                              R"("max_tokens":0)",
                              R"("max_tokens":9223372036854775807)",
                              R"("max_completion_tokens":1e30)",
                              R"("stop":5)",
                              R"("stop":[""])",
                              R"("logit_bias":[])",
                              R"("logit_bias":{"x":1})",
                              R"("logit_bias":{"1":1e9})",
                              R"("stream":"yes")",
                              R"("stream_options":{})",
                              R"("logprobs":3)",
                              R"("top_logprobs":3)",
                              R"("logprobs":true,"top_logprobs":21)",
                              R"("tools":[{}])",
                              R"("response_format":{"type":"json_object"})",
                              R"("seed":1.5)",
                              R"("seed":"1")",
                              R"("presence_penalty":9)",
                              R"("repetition_penalty":0)",
                              R"("mm_processor_kwargs":[])"})
    add(with(members));
  for (const std::string& url :
       {std::string("data:image/png;base64,@@@"), std::string("data:image/png;base64,A"),
        std::string("data:image/png,x"), data_url(tiny.substr(0, tiny.size() / 2)), data_url(std::string(300, '\0')),
        data_url(bomb), data_url(giant), std::string("file:///etc/passwd"), std::string("http://127.0.0.1/x.png"),
        std::string("gopher://x"), std::string(), std::string(100000, 'u')})
    add(with_picture(url));
  std::string pictures;
  for (int i = 0; i < 100; ++i)
    pictures += cat(i ? "," : "", R"({"type":"image_url","image_url":{"url":")", data_url(tiny), "\"}}");
  add(http(user("[" + pictures + "]") + "}"));
  add(http(user(R"([{"type":"image_url","image_url":{"url":")" + data_url(tiny) + "\"}}]") +
           R"(,"mm_processor_kwargs":{"min_pixels":1000000000000}})"));
  add(http(std::string(1500000, 'x')));
  std::string values = "{\"a\":[[]";
  while (values.size() < 900000) values += ",[]";
  add(http(values + "]}"));
  add(http("//\"\n" + values + "]}"));  // a scan that takes the comment for the begin of a string counts nothing
  add(http("{}", "/v1/none"));
  add(http("{\"tokens\":[1,\"2\"]}", "/detokenize"));
  add(http("{\"tokens\":[99999999999]}", "/detokenize"));
  for (const std::string& head :
       {std::string("GARBAGE\r\n\r\n"), std::string("POST / HTTP/9.9\r\n\r\n"), std::string("G"), std::string(),
        "GET /" + std::string(20000, 'a') + " HTTP/1.1\r\n\r\n", std::string(100, '\0'),
        std::string("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n"),
        std::string("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 1000000000000\r\n\r\n{"),
        std::string("POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        "GET / HTTP/1.1\r\nX: " + std::string(100000, 'x') + "\r\n\r\n"})
    all.push_back({head, true});
  // Half a body: from one who closes his half, and from one who waits.
  for (const bool closes : {true, false})
    all.push_back({"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{", closes});
  return all;
}

// Sends a good request so slowly that others overtake it; the body of the answer.
std::string slowly(const Running& r, const std::string& bytes) {
  httplib::Client c("127.0.0.1", static_cast<int>(r.server->port()));
  c.set_read_timeout(60);
  const auto a = c.Post(
      "/v1/chat/completions", bytes.size(),
      [&](std::size_t at, std::size_t left, httplib::DataSink& sink) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        return sink.write(bytes.data() + at, std::min<std::size_t>(left, 7));
      },
      "application/json");
  return a ? a->body : "slow, and no answer: " + to_string(a.error());
}

std::int64_t resident_bytes() {
  std::int64_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

// What a request says that does not name the moment.
std::string bits(const std::string& body) {
  try {
    return Json::parse(body, "answer").at("choices").dump();
  } catch (const Error&) { return "none"; }
}

void under_fire(std::size_t requests) {
  constexpr std::size_t clients = 64;
  serve::give_memory_back();  // as the verb does, whose memory this measures
  const auto start = open_files();
  {
    Running r({.connections = 96, .max_body = 1 << 20, .max_bodies = 4 << 20, .read_timeout_s = 3}, [] {
      EngineOptions e = SmallService{}.engine();
      e.max_waiting = 0;
      return e;
    }());
    std::vector<std::string> asks, alone;
    for (int i = 0; i < 12; ++i) {
      asks.push_back(user(cat("\"question ", i, "\"")) + cat(R"(,"logprobs":true,"seed":)", i, R"(,"temperature":)",
                                                             i % 2, R"(,"max_tokens":)", 2 + i % 5, "}"));
      alone.push_back(r.post("/v1/chat/completions", asks.back()).at("choices").dump());
    }
    const std::vector<Bad> bad = bad_requests();
    std::atomic<std::int64_t> peak{resident_bytes()};
    const std::int64_t before = peak;
    std::atomic<bool> over{false};
    std::thread watch([&] {
      for (; !over; std::this_thread::sleep_for(std::chrono::milliseconds(5)))
        peak = std::max<std::int64_t>(peak, resident_bytes());
    });
    std::atomic<std::size_t> next{0}, same{0}, refused{0}, good{0}, malformed{0};
    std::atomic<std::size_t> taken{0};
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < clients; ++t)
      threads.emplace_back([&] {
        auto c = r.client();
        c.set_keep_alive(true);
        for (std::size_t k; (k = next++) < requests;) {
          if (k % 3 == 2) {
            const Bad& b = bad[taken++ % bad.size()];
            const std::string got = raw(r, b.bytes, b.half_close, 30);
            // An answer in the 4xx, or a connection that is closed; never a 5xx, never a 200.
            const bool ok = got.empty() || got.starts_with("HTTP/1.1 4");
            CHECK_MESSAGE(ok, got.substr(0, 200), " for ", b.bytes.substr(0, 300));
            refused += ok;
            ++malformed;
            continue;
          }
          const std::size_t q = k * 7 % asks.size();
          ++good;
          std::string got;
          if (k % 97 == 0) {
            got = slowly(r, asks[q]);
          } else {
            const auto a = c.Post("/v1/chat/completions", asks[q], "application/json");
            got = !a ? "no answer: " + to_string(a.error()) : a->body;
          }
          CHECK_MESSAGE(bits(got) == alone[q], "request ", k, ": ", got.substr(0, 300));
          same += bits(got) == alone[q];
        }
      });
    for (auto& t : threads) t.join();
    over = true;
    watch.join();
    CHECK(same == good);
    CHECK(refused == malformed);
    CHECK(malformed == requests / 3);
    CHECK(soon([&] { return r.engine.stats().running + r.engine.stats().waiting == 0; }));
    CHECK(r.engine.stats().used_pages == 0);
    // Bodies within their budget and one more, four of them at a time as trees of JSON and pictures, and what 96
    // connections and their answers need.
    MESSAGE("resident: ", before >> 20, " MB before, at most ", peak.load() >> 20, " MB under fire");
    if (!sanitized) CHECK(peak - before < std::int64_t{256} << 20);
  }
  CHECK(soon([&] { return open_files() == start; }));
}

}  // namespace

TEST_CASE(
    "fire: 64 clients, 1000 requests, a third malformed: healthy ones get the bits they get alone, nothing leaks "
    "(E-03)") {
  under_fire(1000);
}
TEST_CASE("fire: twenty thousand such requests" * doctest::skip()) { under_fire(20000); }
