#include "base/json.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io/file.h"
#include "base/utf8.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

std::string refusal(std::string_view text) {
  return thrown([&] { Json::parse(text, "x.json"); });
}

std::string repeated(const std::string& part, std::size_t n) {
  std::string out;
  for (std::size_t i = 0; i < n; ++i) out += part;
  return out;
}

}  // namespace

TEST_CASE("json: every kind of value is read and written back, keys in file order, comments passed over") {
  const std::string text = R"({"b":[1,-2,0.5,1e+300,true,false,null,"ä\n"],"a":{},"":[]})";
  CHECK(Json::parse(text, "").dump() == text);
  CHECK(Json::parse(" // one [[[\n[1, /* \"two\" */ 3]\n", "").dump() == "[1,3]");
  CHECK(Json::parse("\xEF\xBB\xBF[1]", "").dump() == "[1]");  // a byte order mark
  CHECK(Json::parse("{\"a\": [1]}", "").dump(2) == "{\n  \"a\": [\n    1\n  ]\n}");
}

TEST_CASE("json: line and column of a fault, from the first line that the caller names") {
  CHECK(refusal("{\n  \"a\": 1,\n  \"b\" 2\n}").starts_with("x.json:3:7: malformed JSON: "));
  CHECK(refusal("").starts_with("x.json:1:1: malformed JSON: "));
  CHECK(refusal("[1, 2] 3").starts_with("x.json:1:8: "));
  try {
    Json::parse("[1\n2]", "y", 41);
  } catch (const Error& e) { CHECK(std::string(e.what()).starts_with("y:42:1: ")); }
}

TEST_CASE("json: a key that stands twice in an object is refused where it stands, and many keys cost no square") {
  CHECK(refusal(R"({"a":1,"b":2,"a":3})") == "x.json:1:14: the key \"a\" stands twice");
  CHECK(refusal("{\"b\": {\"a\": [{\"a\": 1}, {\"a\": \"x: \\\" y\"}]},\n // \"a\": 1\n  \"\\u0062\" /* : */ : 2}")
            .starts_with("x.json:3:3: the key \"b\""));
  CHECK(Json::parse(R"({"a":{"a":1},"b":[{"a":1},{"a":2}]})", "").size() == 2);  // in objects of their own
  std::string many = "{";
  for (int i = 0; i < 100000; ++i) many += cat(i ? "," : "", "\"key", i, "\":", i);
  CHECK(Json::parse(many + "}", "").size() == 100000);
}

TEST_CASE("json: integers of 64 bits are exact, larger ones are numbers, and what no double holds is refused") {
  CHECK(Json::parse("9223372036854775807", "").as_int() == INT64_MAX);
  CHECK(Json::parse("-9223372036854775808", "").as_int() == INT64_MIN);
  for (const char* big : {"9223372036854775808", "18446744073709551616", "-9223372036854775809"}) {
    const Json value = Json::parse(big, "");
    CHECK(value.kind() == Json::Kind::number);
    CHECK_THROWS_AS(value.as_int(), Error);
    CHECK(std::abs(value.as_double()) >= 9.2e18);
  }
  CHECK(!Json::parse("1.0", "").is_integer());
  for (const char* none : {"1e999", "NaN", "Infinity", "01", "+1", "1.", ".5", "0x10"}) CHECK(refusal(none) != "");
}

TEST_CASE("json: surrogates come in pairs; text that is no UTF-8 is refused, and shown as text that is") {
  CHECK(Json::parse(R"("\ud83d\ude00")", "").as_string() == "\U0001F600");
  for (const char* lone : {R"("\ud83d")", R"("\ude00")", R"("\ud83d\u0041")", R"("\ude00\ud83d")"})
    CHECK(refusal(lone) != "");
  for (const std::string bytes : {"\"Gr\xF6\xDF"
                                  "e\"",
                                  "\"\xC0\xAF\"", "\"\xED\xA0\x80\"", "\"\xF5\"", "\"\xE2\x82\""}) {
    const std::string message = refusal(bytes);
    CHECK(message.starts_with("x.json:1:"));
    CHECK(utf8_prefix(message) == message.size());
  }
  // What the program itself made from broken bytes is written with U+FFFD.
  CHECK(Json(std::string("a\xFFz")).dump() == "\"a\xEF\xBF\xBDz\"");
}

TEST_CASE("json: a message is one line of bounded length, however long what is wrong") {
  const std::string message = refusal("[\"" + std::string(1 << 20, 'x') + "\n\"]");
  CHECK(message.size() < 400);
  CHECK(message.find('\n') == message.npos);
  const std::string key(1 << 20, 'k');
  try {
    Json::object().at(key);
  } catch (const Error& e) { CHECK(std::string(e.what()).size() < 400); }
  CHECK(Json::parse("[" + repeated("1,", 100000) + "1]", "").shown().size() < 200);
  CHECK(Json::parse("[1, 2]", "").shown() == "[1,2]");
}

TEST_CASE("json: a zero byte is refused wherever it stands") {
  for (const std::string& text : {std::string("{}\0", 3), std::string("{}\0\"aaaa", 8), std::string("\0", 1),
                                  std::string("[1\0]", 4), std::string("\"a\0b\"", 5), std::string("[] // a\0b", 9)})
    CHECK(contains(refusal(text), "a zero byte"));
  CHECK(refusal(std::string("{}\n\n \0x", 7)).starts_with("x.json:3:2: "));
  CHECK(Json::parse(R"("a\u0000b")", "").as_string() == std::string("a\0b", 3));  // the escape is a character
}

TEST_CASE("json: depth is bounded, the bracket that is too deep is named, and what is allowed is walked safely") {
  const std::size_t most = Json::deepest;
  for (const auto& [open, close] :
       {std::pair<std::string, std::string>{"[", "]"}, {"{\"a\":", "}"}, {"[{\"[\": ", "}]"}}) {
    const std::size_t each = open.front() == '[' && open.size() > 1 ? 2 : 1;
    const std::string text = repeated(open, most / each) + "1" + repeated(close, most / each);
    Json value = Json::parse(text, "");
    const Json copy = value;
    CHECK(copy.dump() == value.dump());
    value = Json();
    for (const std::size_t n : {most / each + 1, std::size_t{400000}}) {
      CHECK(contains(refusal(repeated(open, n) + "1" + repeated(close, n)), "deep"));
      CHECK(contains(refusal(repeated(open, n)), "deep"));  // not even closed
    }
  }
  const std::string before = "[\"[[\\\"[\", // [[\n /* [ */ []";
  CHECK(refusal(before + "," + std::string(most + 3, '[')).starts_with(cat("x.json:2:", 12 + most, ": ")));
}

TEST_CASE("json: a file that cannot be read is a fault of the machine, not of the JSON") {
  const ScratchDirectory dir;
  const auto failure = [](const std::string& path) {
    try {
      Json::read(path);
    } catch (const Error& e) { return std::pair(e.exit(), std::string(e.what())); }
    return std::pair(Exit::done, std::string());
  };
  // Reading the memory at address 0 is EIO.
  CHECK(failure("/proc/self/mem") ==
        std::pair(Exit::machine_failed, std::string("/proc/self/mem: cannot read: Input/output error")));
  CHECK(failure(dir.path()) == std::pair(Exit::wrong_input, dir.path() + ": cannot read: Is a directory"));
  CHECK(contains(failure(dir / "none").second, "No such file"));
  write_durably(dir / "empty.json", "");
  CHECK(contains(failure(dir / "empty.json").second, "empty.json:1:1: malformed JSON"));
  for (const auto& [bytes, kind] : {std::pair<std::string, std::string>{{"\x1f\x8b\x08\0\0", 5}, "gzip"},
                                    {"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"},
                                    {{"\xff\xfe{\0}\0", 6}, "UTF-16"},
                                    {"PAR1....", "Parquet"}}) {
    write_durably(dir / "other.json", bytes);
    CHECK(contains(failure(dir / "other.json").second, "looks like"));
    CHECK(contains(failure(dir / "other.json").second, kind));
  }
}
