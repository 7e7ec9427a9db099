#include "data/raw/json_records.h"

#include <doctest/doctest.h>
#include <malloc.h>

#include "tests/data/pack_fixture.h"

namespace ov::loader_test {
namespace {

using Strings = std::vector<std::string>;

std::string in_array(const Strings& records) {
  std::string all;
  for (const std::string& r : records) all += (all.empty() ? "[" : ",\n ") + r;
  return all + "]\n";
}

std::string in_lines(const Strings& records) {
  std::string all;
  for (const std::string& r : records) all += r + "\n";
  return all;
}

// "ok" or the reason of each record.
Strings outcomes(const JsonRecords& records) {
  Strings out;
  for (std::int64_t i = 0; i < records.size(); ++i) {
    const std::string message = message_of([&] { records.read(i); });
    out.push_back(message.empty() ? "ok" : message.substr(0, message.find(" | ")));
  }
  return out;
}

std::string refusal(const DataSet& d, const std::string& text, const std::string& name = "f.json") {
  return message_of([&] { JsonRecords(d.write(name, text)); });
}

}  // namespace

TEST_CASE("json records: array and lines hold the same records, whatever stands in strings and comments") {
  const DataSet d;
  const Strings records = {R"({"a": "]},{[", "b": [1, {"c": "\"\\"}]})", "17", R"("x,y")", "[[], [2]]", "null", "{}"};
  const JsonRecords array(d.write("a.json", in_array(records))), lines(d.write("a.jsonl", in_lines(records)));
  const JsonRecords loose(d.write("b.json", "\xEF\xBB\xBF // first\n [ " + records[0] +
                                                " /* , */ ,17\n,\"x,y\" // ]\n,\n\n" + records[3] +
                                                "\t, null ,{} ] // last"));
  for (const JsonRecords* r : {&array, &lines, &loose}) {
    REQUIRE(r->size() == 6);
    for (std::size_t i = 0; i < 6; ++i)
      CHECK(r->read(static_cast<std::int64_t>(i)).dump() == Json::parse(records[i], "r").dump());
  }
  CHECK(array.where(4) == d.path("a.json: record 5"));
  CHECK(lines.where(4) == d.path("a.jsonl:5"));
  for (const char* none : {"", " \n", "[]", "[ /* none */ ] ", "\xEF\xBB\xBF"})
    CHECK(JsonRecords(d.write("none.json", none)).size() == 0);
}

TEST_CASE("json records: a faulty record costs itself alone, in an array as in lines, at any place") {
  const DataSet d;
  const Strings faults = {R"({"v": NaN})",
                          R"({"v": Infinity})",
                          R"({"v": -Infinity})",
                          R"({"v": 1e999})",
                          R"({"v": "\ud83d?"})",
                          R"({"v": 7,, })",
                          R"({"v" 7})",
                          R"({"v": 'x'})",
                          R"({"v": tru})",
                          R"({v: 1})",
                          R"({"v": 01})",
                          "{\"v\": \"\x01\"}",
                          "{\"v\": \"Gr\xF6\xDF"
                          "e\"}",
                          "nonsense",
                          R"({"a": 1} {"b": 2})",
                          R"({"v": )" + std::string(3000, '[') + std::string(3000, ']') + "}"};
  for (const std::string& fault : faults)
    for (std::size_t place = 0; place < 3; ++place) {
      CAPTURE(fault);
      Strings records(3, R"({"v": "fine, [really]"})"), want(3, "ok");
      records[place] = fault;
      want[place] = "malformed_record";
      CHECK(outcomes(JsonRecords(d.write("a.json", in_array(records)))) == want);
      CHECK(outcomes(JsonRecords(d.write("a.jsonl", in_lines(records)))) == want);
    }
  // An element that is empty is one too.
  CHECK(outcomes(JsonRecords(d.write("a.json", "[1,,2,]"))) ==
        Strings{"ok", "malformed_record", "ok", "malformed_record"});
  const JsonRecords a(d.write("a.json", "[{\"id\": 1},\n {\"id\": 7,, }, {\"id\": }]"));
  CHECK(contains(message_of([&] { a.read(1); }), "a.json:2:11: malformed JSON"));
  CHECK(contains(message_of([&] { a.read(2); }), "a.json:2:23: malformed JSON"));
  const JsonRecords far(d.write("a.json", "[\"" + std::string(100000, 'x') + "\", {,}]"));
  CHECK(contains(message_of([&] { far.read(1); }), "a.json: record 2:1:2: malformed JSON"));
}

TEST_CASE("json records: what cannot be told apart is refused with its place, and what is no JSON by what it is") {
  const DataSet d;
  CHECK(contains(refusal(d, "[1,\n [2, 3"), "f.json:1:1: malformed JSON: this array does not close"));
  CHECK(contains(refusal(d, "[1,\n \"2, 3]"), "f.json:1:1: malformed JSON: this array does not close"));
  CHECK(contains(refusal(d, "[1,\n {\"a\": [2}, 3]"), "f.json:2:10: malformed JSON: expected ']', found '}'"));
  CHECK(contains(refusal(d, "[1,\n 2]\n\n [3]"), "f.json:4:2: malformed JSON: expected nothing behind the array"));
  CHECK(contains(refusal(d, "[1, 2] [3]"), "f.json:1:8: malformed JSON: expected nothing behind the array"));
  // A list on a line of its own is a record among lines.
  CHECK(outcomes(JsonRecords(d.write("f.jsonl", "[1]\n{\"id\": 2}\n[\n"))) == Strings{"ok", "ok", "malformed_record"});

  const std::string record = R"({"id": "1",
    "conversations": [{"from": "human", "value": "q"}]})";
  CHECK(contains(refusal(d, record), "f.json: one object stands on 2 lines: expected a JSON array of records, or one"));
  CHECK(contains(refusal(d, record), "put [ and ] around the records"));
  CHECK(contains(refusal(d, "\n" + record + "\n" + record), "one object stands on 2 lines"));
  CHECK(contains(refusal(d, "{\"version\": 1, \"x\": {\"y\": [1]},\n \"data\": [" + record + "]\n}"),
                 "write the list under \"data\" to a file of its own"));
  // A broken first line is a broken line.
  for (const char* broken : {"{\"id\": \n{\"id\": 2}\n", "{\"id\": 7,, }\n{\"id\": 2}\n", "{\"a\": [1}\n{\"id\": 2}\n"})
    CHECK(outcomes(JsonRecords(d.write("f.jsonl", broken))) == Strings{"malformed_record", "ok"});

  CHECK(contains(refusal(d, std::string("\x1f\x8b\x08\0\0", 5)),
                 "f.json: looks like a gzip file: unpack it first; expected"));
  CHECK(contains(refusal(d, "PAR1\x15\x04"), "looks like a Parquet file"));
  CHECK(contains(refusal(d, "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n"),
                 "Git LFS pointer"));
  CHECK(contains(refusal(d, std::string("\xff\xfe[\0{\0", 6)), "UTF-16"));
  CHECK(contains(refusal(d, "<!DOCTYPE html><html>"), "a web page"));
}

TEST_CASE("json records: an array costs about what lines cost, however many records it has") {
  const DataSet d;
  constexpr int n = 50000;
  const std::string one = record("1", "a.png", {"<image>what is it?", "a ring"}).dump();
  const auto heap_of = [&](const std::string& path) {
    const std::size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    const JsonRecords records(path);
    REQUIRE(records.size() == n);
    return static_cast<double>(mallinfo2().uordblks + mallinfo2().hblkhd - before) / n;
  };
  const double array = heap_of(d.write("a.json", in_array(Strings(n, one))));
  const double lines = heap_of(d.write("a.jsonl", in_lines(Strings(n, one))));
  CHECK(array < 40);  // 16 bytes, and a vector's room to grow
  CHECK(lines < 40);
}

TEST_CASE("records: the first bytes tell a tar archive, whatever its name is") {
  const DataSet d;
  const std::string shard = caption_shard(d, "c.tar", 3);
  CHECK(open_records(d.write("c.shard", read_file(shard)))->size() == 3);
  const auto named = open_records(d.write("gz.tar", "\x1f\x8b\x08"));
  CHECK(contains(message_of([&] { named->read(0); }),
                 "damaged_shard | " + d.path("gz.tar") + ": damaged gzip data, or cut short"));
}

}  // namespace ov::loader_test
