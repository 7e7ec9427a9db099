// Requests in the OpenAI API's form: what they mean, and what is refused.
#include "serve/api.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>

#include "base/base64.h"
#include "base/io/file.h"
#include "image/encode.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/serve/served_model.h"

using namespace ov;
using namespace ov::test;
using serve::ApiError;

namespace {

const auto base64 = to_base64;

std::string picture() { return "data:image/png;base64," + base64(read_file("tests/golden/images_fast/tiny.png")); }

struct Refusal {
  int status = 0;
  std::string message, param, code;
};

template <class F>
Refusal refused(F&& f) {
  try {
    f();
  } catch (const ApiError& e) { return {e.status, e.what(), e.param, e.code}; }
  return {};
}

Json answer(const SmallService& small, const serve::Service& service, const std::string& body, bool chat = true) {
  Engine engine(*small.model, small.engine());
  const Json json = serve::parse_body(body);
  serve::Reply reply(service, engine, chat ? read_chat(service, json) : read_completion(service, json));
  engine.run();
  reply.take_all();
  reply.check();
  return reply.json();
}

const std::string& content(const Json& reply, std::size_t choice = 0) {
  return reply.at("choices")[choice].at("message").at("content").as_string();
}

}  // namespace

TEST_CASE("api: base64 as RFC 4648 has it") {
  for (const std::string& bytes :
       {std::string(), std::string("a"), std::string("ab"), std::string("abc"), std::string("\0\xff\x80~", 4)}) {
    std::string text = base64(bytes);
    CHECK(text.size() == (bytes.size() + 2) / 3 * 4);
    CHECK(from_base64(text) == bytes);
    while (!text.empty() && text.back() == '=') text.pop_back();
    CHECK(from_base64(text) == bytes);
  }
  CHECK(base64("Many hands") == "TWFueSBoYW5kcw==");
  for (const char* bad : {"a", "@@@@", "ab=c", "abc=d", "a===", "====", "YWJj\n", "YW Jj", "YQ==YQ=="})
    CHECK_THROWS_AS(from_base64(bad), Error);
}

TEST_CASE("api: a chat is the prompt that its messages make, with pictures where they stand (E-05, E-08)") {
  const SmallService small;
  const serve::Service s = small.service();
  const auto ids = [&](const std::string& body) { return read_chat(s, serve::parse_body(body)).prompts[0]; };
  const Tokenizer& t = small.processor.tokenizer();
  const std::string system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
                    ask = "<|im_end|>\n<|im_start|>assistant\n";
  CHECK(ids(user(R"("Hi")") + "}") == t.encode(system + "<|im_start|>user\nHi" + ask));
  CHECK(ids(user(R"([{"type":"text","text":"a"},{"type":"text","text":"b"}])") + "}") ==
        t.encode(system + "<|im_start|>user\nab" + ask));
  CHECK(ids(R"({"messages":[{"role":"developer","content":[{"type":"text","text":"Brief."}]},
    {"role":"user","content":"x"},
    {"role":"assistant","content":null},{"role":"user","content":"y"}]})") ==
        t.encode(
            "<|im_start|>system\nBrief.<|im_end|>\n<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n"
            "<|im_start|>user\ny" +
            ask));
  CHECK(serve::rendered(s, serve::parse_body(user(R"("Hi")") + R"(,"add_generation_prompt":false})")) ==
        system + "<|im_start|>user\nHi<|im_end|>\n");

  // Picture first and text first differ; the two ways to write a picture do not.
  const std::string text = R"({"type":"text","text":"q"})",
                    url = R"({"type":"image_url","image_url":{"detail":"low","url":")" + picture() + R"("}})";
  const serve::Asked one = read_chat(s, serve::parse_body(user("[" + url + "," + text + "]") + "}"));
  REQUIRE(one.pictures.size() == 1);
  const std::int64_t pads = one.pictures[0].grid.patches() / 4;
  CHECK(std::count(one.prompts[0].begin(), one.prompts[0].end(), small.model->config().image_token) == pads);
  CHECK(ids(user("[" + text + "," + url + "]") + "}") != one.prompts[0]);
  CHECK(ids(user(R"([{"type":"image","image":")" + picture() + R"("},)" + text + "]") + "}") == one.prompts[0]);
  CHECK(ids(user(R"([{"type":"image_url","image_url":")" + picture() + R"("},)" + text + "]") + "}") == one.prompts[0]);
  const serve::Asked larger =
      read_chat(s, serve::parse_body(user("[" + url + "]") + R"(,"mm_processor_kwargs":{"min_pixels":20000}})"));
  CHECK(larger.pictures[0].grid.patches() > one.pictures[0].grid.patches());
  // Limits that the context could not hold: a most is taken as far as it goes, a least is refused before it is made.
  const auto limited = [&](const char* key) {
    return serve::parse_body(user("[" + url + "]") + R"(,"mm_processor_kwargs":{")" + key + R"(":1000000000000}})");
  };
  CHECK(read_chat(s, limited("max_pixels")).pictures[0].grid.patches() == one.pictures[0].grid.patches());
  CHECK(refused([&] { read_chat(s, limited("min_pixels")); }).param == "min_pixels");
}

TEST_CASE("api: options: their values, what null and unknown keys mean, and both names of a length (E-03)") {
  const SmallService small;
  serve::Service s = small.service();
  s.otherwise.temperature = 0.5;
  const auto asked = [&](const std::string& more) {
    return read_chat(s, serve::parse_body(user("\"x\"") + more + "}"));
  };
  const serve::Asked plain = asked("");
  CHECK(plain.sampling.temperature == 0.5);
  CHECK(plain.max_tokens == 24);
  CHECK(plain.choices == 1);
  CHECK_FALSE(plain.logprobs);
  CHECK(plain.sampling.top_logprobs == -1);
  CHECK(plain.stop_ids == s.stop);
  const serve::Asked a = asked(R"(,"temperature":1.5,"top_p":0.9,"top_k":-1,"min_p":0.1,"repetition_penalty":1.2,
    "presence_penalty":-1,"frequency_penalty":2,"seed":-3,"n":2,"stop":"END","max_tokens":5,"max_completion_tokens":7,
    "logprobs":true,"top_logprobs":3,"logit_bias":{"7":-100},"stream":true,"stream_options":{"include_usage":true},
    "response_format":{"type":"text"},"ignore_eos":true,"user":"u","metadata":{},"store":false,"service_tier":"auto",
    "reasoning_effort":"low","no_such_field":1,"tools":[],"chat_template_kwargs":{"enable_thinking":false},
    "media_io_kwargs":{"video":{"num_frames":10}})");
  CHECK(a.sampling.temperature == 1.5);
  CHECK(a.sampling.top_k == 0);
  CHECK(a.sampling.seed == static_cast<std::uint64_t>(-3));
  CHECK(a.choices == 2);
  CHECK(a.stop == std::vector<std::string>{"END"});
  CHECK(a.max_tokens == 7);
  CHECK(a.sampling.top_logprobs == 3);
  CHECK(a.sampling.logit_bias.at(0).second == -100);
  CHECK((a.stream && a.include_usage));
  CHECK(a.stop_ids.empty());
  const serve::Asked nulls = asked(
      R"(,"temperature":null,"stop":null,"seed":null,"n":null,"max_tokens":null,"logprobs":null,"tools":null,
    "response_format":null)");
  CHECK(nulls.sampling.temperature == 0.5);
  CHECK(nulls.max_tokens == 24);
}

TEST_CASE("api: what is wrong is refused with 400 and the name of the part") {
  const SmallService small;
  const serve::Service s = small.service();
  const auto chat = [&](const std::string& body) { return refused([&] { read_chat(s, serve::parse_body(body)); }); };
  CHECK(contains(refused([] { serve::parse_body("//\"\n{}"); }).message, "a comment"));
  struct Case {
    std::string more, param;
  };
  for (const Case& c : std::vector<Case>{{R"("temperature":-1)", "temperature"},
                                         {R"("temperature":3)", "temperature"},
                                         {R"("temperature":"hot")", "temperature"},
                                         {R"("top_p":2)", "top_p"},
                                         {R"("max_tokens":0)", "max_tokens"},
                                         {R"("max_tokens":-1)", "max_tokens"},
                                         {R"("max_tokens":1.5)", "max_tokens"},
                                         {R"("n":0)", "n"},
                                         {R"("n":1000)", "n"},
                                         {R"("seed":1.5)", "seed"},
                                         {R"("stop":"")", "stop"},
                                         {R"("stop":[1])", "stop"},
                                         {R"("top_logprobs":3)", "top_logprobs"},
                                         {R"("logprobs":true,"top_logprobs":21)", "top_logprobs"},
                                         {R"("logprobs":1)", "logprobs"},
                                         {R"("logit_bias":{"x":1})", "logit_bias"},
                                         {R"("logit_bias":{"99999":1})", "logit_bias"},
                                         {R"("logit_bias":[])", "logit_bias"},
                                         {R"("response_format":{"type":"json_object"})", "response_format"},
                                         {R"("tools":[{"type":"function"}])", "tools"},
                                         {R"("stream":"yes")", "stream"},
                                         {R"("stream_options":{})", "stream_options"},
                                         {R"("mm_processor_kwargs":{"max_pixels":0})", "max_pixels"}}) {
    const Refusal r = chat(user("\"x\"") + "," + c.more + "}");
    CAPTURE(c.more);
    CHECK(r.status == 400);
    CHECK(r.param == c.param);
    CHECK(r.message.find(c.param) == 0);
  }
  const std::string limits[] = {"429",     "rate limit", "quota",
                                "throttl", "rpm",        "tpm"};  // clients would wait and ask again
  for (const std::string& body : std::vector<std::string>{
           "",
           "{",
           "[]",
           "{}",
           R"({"messages":[]})",
           R"({"messages":{}})",
           R"({"messages":[1]})",
           R"({"messages":[{"role":"user"}]})",
           R"({"messages":[{"role":"wizard","content":"x"}]})",
           R"({"messages":[{"role":"tool","content":"x"}]})",
           R"({"messages":[{"role":1,"content":"x"}]})",
           user("1") + "}",
           user("[1]") + "}",
           user(R"([{"type":"hologram"}])") + "}",
           user(R"([{"type":"text"}])") + "}",
           user(R"([{"type":"image_url"}])") + "}",
           user(R"([{"type":"image_url","image_url":{}}])") + "}",
           user(R"([{"type":"image_url","image_url":{"url":"data:image/png;base64,@@@@"}}])") + "}",
           user(R"([{"type":"image_url","image_url":{"url":"data:image/png;base64,aGVsbG8="}}])") + "}",
           user(R"([{"type":"image_url","image_url":{"url":"data:image/png,x"}}])") + "}",
           user(R"([{"type":"image_url","image_url":{"url":"data:image/png;base64,)" +
                base64(read_file("tests/golden/images_fast/tiny.png").substr(0, 60)) + "\"}}]") +
               "}",
           user(R"([{"type":"image_url","image_url":{"url":"file:///etc/passwd"}}])") + "}",
           user(R"([{"type":"image_url","image_url":{"url":"http://127.0.0.1:9/x.png"}}])") + "}",
           user(R"([{"type":"image_url","image_url":{"url":"ftp://x/y.png"}}])") + "}",
           user(R"([{"type":"video_url","video_url":{"url":"file:///x.mp4"}}])") + "}",
           user("\"<|image_pad|>\"") + "}",
           user("\"\xff\"") + "}",
           std::string(600, '[')}) {
    const Refusal r = chat(body);
    CAPTURE(body);
    CHECK(r.status == 400);
    CHECK(r.message != "");
    for (const std::string& word : limits) CHECK_FALSE(contains(r.message, word));
  }
  const Refusal far = chat(user("\"" + std::string(600, 'x') + "\"") + "}");
  CHECK(far.status == 400);
  CHECK(far.code == "context_length_exceeded");
  CHECK(contains(far.message, "512"));
  CHECK(chat(user("\"x\"") + R"(,"max_tokens":500})").code == "context_length_exceeded");
}

TEST_CASE(
    "api: file pictures lie below the media path, whatever links and dots say; public addresses alone are fetched "
    "(E-22)") {
  const ScratchDirectory dir;
  std::filesystem::create_directories(dir / "in/side");
  std::filesystem::create_directories(dir / "inside");
  const std::string bytes = read_file("tests/golden/images_fast/tiny.png");
  for (const char* name : {"in/side/a b.png", "inside/b.png", "c.png"}) write_durably(dir / name, bytes);
  std::filesystem::create_symlink(dir / "c.png", dir / "in/link.png");
  std::filesystem::create_symlink(dir / "in/side/a b.png", dir / "in/good.png");
  const serve::MediaOptions media{.media_path = dir / "in"};
  const auto at = [&](const std::string& path) {
    return thrown([&] { serve::picture_at("file://" + dir.path() + path, media); });
  };
  CHECK(at("/in/side/a b.png") == "");
  CHECK(at("/in/side/a%20b.png") == "");
  CHECK(at("/in/good.png") == "");
  for (const char* outside :
       {"/in/link.png", "/inside/b.png", "/in/../c.png", "/c.png", "/in/%2e%2e/c.png", "/in/none.png", "/in/x%00.png"})
    CHECK(at(outside) != "");
  CHECK(at("/in/link.png") == at("/in/none.png"));
  const serve::MediaOptions remote{.remote = true};
  for (const char* url : {"http://127.0.0.1:9/x", "http://localhost:9/x", "http://10.1.2.3/", "http://192.168.0.1/",
                          "http://169.254.169.254/latest", "http://172.20.0.1/", "http://0.0.0.0/",
                          "http://2130706433/", "http://[::1]/", "http://user@127.0.0.1/", "http:///x"})
    CHECK(thrown([&] { serve::picture_at(url, remote); }) != "");
  const serve::MediaOptions few{.max_pixels = 10};
  CHECK(contains(thrown([&] { serve::picture_at(picture(), few); }), "more than 10"));
}

TEST_CASE("api: the pixels of a request's pictures together are bounded before they are decoded") {
  const SmallService small;
  serve::Service s = small.service();
  std::int64_t of_one = 0;
  serve::picture_at(picture(), s.media, &of_one);
  REQUIRE(of_one > 0);
  s.media.max_request_pixels = 3 * of_one;
  const auto asked = [&](int n, const std::string& last = "") {
    std::string parts = last;
    for (int i = 0; i < n; ++i)
      parts = cat(R"({"type":"image_url","image_url":{"url":")", picture(), "\"}}", parts.empty() ? "" : ",", parts);
    return refused([&] { read_chat(s, serve::parse_body(user("[" + parts + "]") + "}")); });
  };
  CHECK(asked(3).status == 0);
  CHECK(asked(4).status == 400);
  CHECK(contains(asked(4).message, cat("a request may have ", 3 * of_one, " (serve.max_request_pixels)")));
  // One whose head alone is there is counted by what the head says, and refused for that.
  const std::string giant = encode_png(Image(300, 300)).substr(0, 60);
  const std::string part = R"({"type":"image_url","image_url":{"url":"data:image/png;base64,)" + base64(giant) + "\"}}";
  CHECK(contains(asked(1, part).message, "serve.max_request_pixels"));
}

TEST_CASE("api: what tokens of an answer attend to, if asked for, and not a bit of the rest changes") {
  const SmallService small;
  const serve::Service s = small.service();
  const std::string url = R"({"type":"image_url","image_url":{"url":")" + picture() + R"("}})",
                    text = R"({"type":"text","text":"What?"})",
                    more = R"(,"max_tokens":6,"logprobs":true,"top_logprobs":1)";
  const std::string ask = user("[" + url + "," + text + "," + url + "]") + more;
  const Json plain = answer(small, s, ask + "}"), told = answer(small, s, ask + R"(,"image_attention":true})");
  const Json &choice = told.at("choices")[0], &usual = plain.at("choices")[0];
  CHECK(usual.find("image_attention") == nullptr);
  for (const char* key : {"message", "logprobs", "finish_reason"}) CHECK(choice.at(key).dump() == usual.at(key).dump());
  const Json& attention = choice.at("image_attention");
  REQUIRE(attention.at("grids").size() == 2);
  std::int64_t patches = 0;
  for (const Json& grid : attention.at("grids").items()) patches += grid[0].as_int() * grid[1].as_int();
  const serve::Asked asked = read_chat(s, serve::parse_body(ask + "}"));
  const auto pads = std::count(asked.prompts[0].begin(), asked.prompts[0].end(), small.model->config().image_token);
  CHECK(patches == pads);
  REQUIRE(attention.at("tokens").size() == choice.at("logprobs").at("content").size());
  for (const Json& masses : attention.at("tokens").items()) {
    CHECK(static_cast<std::int64_t>(masses.size()) == patches);
    double all = 0;
    for (const Json& mass : masses.items()) all += mass.as_double();
    CHECK(all > 0);
    CHECK(all < 1);
  }
  CHECK(answer(small, s, user("\"x\"") + R"(,"max_tokens":2,"image_attention":true})")
            .at("choices")[0]
            .at("image_attention")
            .dump() == R"({"grids":[],"tokens":[[],[]]})");
  CHECK(refused([&] { read_chat(s, serve::parse_body(ask + R"(,"n":2,"image_attention":true})")); }).param ==
        "image_attention");
  CHECK(refused([&] { read_chat(s, serve::parse_body(ask + R"(,"image_attention":1})")); }).status == 400);
}

TEST_CASE("api: stop texts, choices, logprobs and usage in the answer") {
  const SmallService small;
  const serve::Service s = small.service();
  const std::string ask =
      user(R"([{"type":"image_url","image_url":{"url":")" + picture() + R"("}},{"type":"text","text":"What?"}])");
  const Json plain = answer(small, s, ask + R"(,"max_tokens":20})");
  const std::string text = content(plain);
  REQUIRE(text.size() > 8);
  CHECK(plain.at("object").as_string() == "chat.completion");
  CHECK(plain.at("choices")[0].at("finish_reason").as_string() == "length");
  CHECK(plain.at("choices")[0].at("logprobs").is_null());
  const Json& usage = plain.at("usage");
  CHECK(usage.at("completion_tokens").as_int() == 20);
  CHECK(usage.at("total_tokens").as_int() == usage.at("prompt_tokens").as_int() + 20);

  const std::string stop = text.substr(text.size() / 2, 1);
  const Json stopped = answer(small, s, ask + ",\"max_tokens\":20,\"stop\":[" + Json(stop).dump() + "]}");
  if (text.find(stop) != std::string::npos && static_cast<unsigned char>(stop[0]) < 0x80) {
    CHECK(content(stopped) == text.substr(0, text.find(stop)));
    CHECK(stopped.at("choices")[0].at("finish_reason").as_string() == "stop");
  }
  const Json drawn = answer(small, s, ask + R"(,"temperature":1,"seed":4,"n":3,"max_tokens":12})"),
             first = answer(small, s, ask + R"(,"temperature":1,"seed":4,"max_tokens":12})");
  REQUIRE(drawn.at("choices").size() == 3);
  CHECK(content(drawn, 0) == content(first));
  CHECK(content(drawn, 1) != content(drawn, 0));

  const Json told = answer(small, s, ask + R"(,"logprobs":true,"top_logprobs":2,"max_tokens":5})");
  const auto& tokens = told.at("choices")[0].at("logprobs").at("content").items();
  REQUIRE(tokens.size() == 5);
  for (const Json& t : tokens) {
    CHECK(t.at("logprob").as_double() <= 0);
    REQUIRE(t.at("top_logprobs").size() == 2);
    CHECK(t.at("top_logprobs")[0].at("bytes").dump() == t.at("bytes").dump());
  }
}

TEST_CASE("api: completions: several prompts, ids and texts; echo scores the prompt itself") {
  const SmallService small;
  const serve::Service s = small.service();
  const Json both = answer(small, s, R"({"prompt":["ab",[1,2,3]],"max_tokens":3})", false);
  CHECK(both.at("object").as_string() == "text_completion");
  CHECK(both.at("choices").size() == 2);
  const Json echo = answer(small, s, R"({"prompt":"abcd","max_tokens":1,"logprobs":1,"echo":true})", false);
  const Json& choice = echo.at("choices")[0];
  CHECK(choice.at("text").as_string().find("abcd") == 0);
  const Json& l = choice.at("logprobs");
  const std::size_t n = small.processor.tokenizer().encode("abcd").size() + 1;
  for (const char* part : {"tokens", "token_logprobs", "top_logprobs", "text_offset"}) CHECK(l.at(part).size() == n);
  CHECK(l.at("token_logprobs")[0].is_null());
  CHECK(l.at("token_logprobs")[1].as_double() < 0);
  // The last one is that of the token which a longer prompt would have.
  const Json longer = answer(small, s,
                             R"({"prompt":)" +
                                 Json([&] {
                                   auto ids = small.processor.tokenizer().encode("abcd");
                                   return ids;
                                 }())
                                     .dump() +
                                 R"(,"max_tokens":0,"logprobs":1,"echo":true})",
                             false);
  CHECK(longer.at("choices")[0].at("logprobs").at("token_logprobs")[1].dump() == l.at("token_logprobs")[1].dump());
  CHECK(longer.at("choices")[0].at("logprobs").at("tokens").size() == n - 1);
  for (const char* bad : {R"({})", R"({"prompt":[]})", R"({"prompt":""})", R"({"prompt":[999999]})",
                          R"({"prompt":[[]]})", R"({"prompt":{"a":1}})", R"({"prompt":"x","echo":true,"stream":true})",
                          R"({"prompt":"x","max_tokens":0})", R"({"prompt":"x","image_attention":true})"})
    CHECK(refused([&] { read_completion(s, serve::parse_body(bad)); }).status == 400);
}
