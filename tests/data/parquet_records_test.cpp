#include "data/raw/parquet_records.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <numeric>

#include "base/rng.h"
#include "base/sha256.h"
#include "base/text.h"
#include "store/parquet/writer.h"
#include "tests/data/fault_fixture.h"

namespace ov::loader_test {
namespace {

using Kind = ParquetField::Kind;

ParquetField turns_field(const std::string& name, const std::string& who, const std::string& what) {
  return {name, Kind::list, {{"", Kind::structure, {{who, Kind::text}, {what, Kind::text}}}}};
}

std::string write(const DataSet& d, const std::string& name, const std::vector<ParquetField>& columns,
                  const std::vector<Json>& rows, ParquetWriterOptions options = {}) {
  ParquetWriter writer(d.path(name), columns, options);
  for (const Json& row : rows) writer.add(row);
  writer.finish();
  return d.path(name);
}

// All of a record that a sample is made of.
std::string shown_record(const Records& records, std::int64_t i) {
  std::string out;
  const std::string error = message_of([&] {
    const Conversation c = records.read(i);
    for (const Turn& t : c.turns) out += t.role + ": " + t.text + "\n";
    for (const std::string_view p : c.image_bytes) out += sha256(p) + "\n";
    CHECK(c.images.size() == c.image_bytes.size());
  });
  return error.empty() ? out : error;
}

std::vector<Json> example_rows(const DataSet& d, int n) {
  std::vector<Json> out;
  for (int i = 0; i < n; ++i) {
    Json row = Json::object({{"id", cat("r", i)}});
    if (i % 3) {
      const std::string png = read_file(d.png("p.png", 28, 28, i));
      row.set("image", Json::object({{"bytes", png}, {"path", "p.png"}}));
    }
    Json turns = Json::array();
    for (int k = 0; k < 2 + i % 2 * 2; ++k) turns.push(turn(k % 2 ? "gpt" : "human", cat("row ", i, " turn ", k)));
    row.set("conversations", turns);
    out.push_back(row);
  }
  return out;
}

}  // namespace

TEST_CASE(
    "parquet records: the rows of the public sets' layouts, pictures and texts, from every writer's files (R-19, "
    "R-21)") {
  int files = 0;
  for (const std::string& name : list_directory("tests/golden/parquet")) {
    if (!name.ends_with(".json") || name == "index.json") continue;
    const Json reference = Json::read("tests/golden/parquet/" + name);
    const std::string path = "tests/golden/parquet/" + name.substr(0, name.size() - 5) + ".parquet";
    bool says = false, other = false;
    for (const Json& column : reference.at("columns").items()) {
      const std::string& key = column.at("name").as_string();
      says = says || key == "conversations" || key == "caption";
      other = other ||
              (key != "conversations" && key != "caption" && key != "id" && key != "image" && key != "data_source");
    }
    if (!says || other || reference.at("values").size() == 0) continue;
    CAPTURE(path);
    ++files;
    const auto records = open_records(path);
    const auto& rows = reference.at("values").items();
    REQUIRE(records->size() == static_cast<std::int64_t>(rows.size()));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      CAPTURE(i);
      const Json *image = rows[i].find("image"), *bytes = image && image->is_object() ? image->find("bytes") : nullptr;
      std::string expected;
      std::size_t tags = 0;
      if (const Json* list = rows[i].find("conversations")) {
        const bool lists = list->is_object();
        const Json& first = lists ? list->members()[0].second : *list;
        for (std::size_t t = 0; t < first.size(); ++t) {
          const auto part = [&](std::size_t k) {
            return lists ? list->members()[k].second[t].as_string() : (*list)[t].members()[k].second.as_string();
          };
          expected += cat(part(0) == "human" || part(0) == "user" ? "user: " : "assistant: ", part(1), "\n");
          tags += count(part(1), "<image>");
        }
        if (tags == 0 && bytes && bytes->is_object()) expected.insert(6, "<image>\n");
      } else {
        expected = "user: <image>\nassistant: " + rows[i].at("caption").as_string() + "\n";
      }
      const std::string found = shown_record(*records, static_cast<std::int64_t>(i));
      if (expected.empty()) CHECK(found.starts_with("malformed_record | "));  // no message
      else if (bytes && bytes->is_object()) CHECK(found == expected + bytes->at("sha256").as_string() + "\n");
      else CHECK((found == expected || found.starts_with("image_count | ")));  // a caption of no picture
    }
  }
  CHECK(files > 0);
}

TEST_CASE(
    "parquet records: the same conversations as JSON lines, in any order of reading, from files and directories") {
  const DataSet d;
  const std::vector<Json> rows = example_rows(d, 60);
  std::string lines;
  for (const Json& row : rows) {
    Json line = row;
    if (const Json* image = row.find("image")) {
      write_durably(d.path(row.at("id").as_string()), image->at("bytes").as_string());
      line.set("image", row.at("id"));
    }
    lines += line.dump() + "\n";
  }
  const auto plain = open_records(d.write("rows.jsonl", lines));
  const std::vector<ParquetField> columns = {
      {"id"}, parquet_image("image"), turns_field("conversations", "from", "value")};
  const auto whole = open_records(write(d, "all.parquet", columns, rows, {.group_rows = 7, .page_bytes = 200}));
  std::filesystem::create_directories(d.path("set/part"));
  const std::ptrdiff_t cut = 23;
  write(d, "set/part/a.parquet", columns, {rows.begin(), rows.begin() + cut});
  write(d, "set/part/b.parquet", columns, {rows.begin() + cut, rows.end()},
        {.codec = ParquetCodec::zstd, .group_rows = 5});
  const auto parts = open_records(d.path("set"));
  REQUIRE(whole->size() == plain->size());
  REQUIRE(parts->size() == plain->size());
  const Permutation order(60, 3, 0);
  for (std::int64_t k = 0; k < 60; ++k) {
    const std::int64_t i = order(k);
    std::string expected;
    const Conversation c = plain->read(i);
    for (const Turn& t : c.turns) expected += t.role + ": " + t.text + "\n";
    for (const std::string& image : c.images) expected += sha256(read_file(image)) + "\n";
    CHECK(shown_record(*whole, i) == expected);
    CHECK(shown_record(*parts, i) == expected);
  }
  CHECK(whole->fingerprint() != parts->fingerprint());
  CHECK(whole->fingerprint() == open_records(d.path("all.parquet"))->fingerprint());
}

TEST_CASE("parquet records: roles and contents, lists of each, several pictures, paths in place of bytes, none") {
  const DataSet d;
  const std::string png = read_file(d.png("p.png", 28, 28, 1)), digest = sha256(png) + "\n";
  const Json messages =
      Json::parse(R"([{"role": "user", "content": "<image><image>q"}, {"role": "assistant", "content": "a"}])", "");
  const Json bytes = Json::object({{"bytes", png}}), by_path = Json::object({{"path", "p.png"}});
  Json both = Json::array();
  both.push(bytes);
  both.push(by_path);
  const auto many = open_records(
      write(d, "m.parquet", {{"images", Kind::list, {parquet_image("")}}, turns_field("messages", "role", "content")},
            {Json::object({{"images", both}, {"messages", messages}}), Json::object({{"messages", messages}})}));
  CHECK(shown_record(*many, 0) == "user: <image><image>q\nassistant: a\n" + digest + digest);
  CHECK(shown_record(*many, 1) == "user: <image><image>q\nassistant: a\n");

  const ParquetField lists = {
      "conversations", Kind::structure, {{"from", Kind::list, {{""}}}, {"value", Kind::list, {{""}}}}};
  const auto turned = [&](const std::string& from, const std::string& value) {
    const Json row = Json::parse(cat(R"({"conversations": {"from": )", from, R"(, "value": )", value, "}}"), "");
    return shown_record(*open_records(write(d, "t.parquet", {lists}, {row})), 0);
  };
  CHECK(turned(R"(["human", "gpt"])", R"(["q", "a"])") == "user: q\nassistant: a\n");
  CHECK(test::contains(turned(R"(["human", "gpt"])", R"(["q"])"),
                       "malformed_record | " + d.path("t.parquet") + ": row 1: "));

  const auto bare = open_records(write(d, "b.parquet", {{"image", Kind::binary}, {"caption"}},
                                       {Json::object({{"image", png}, {"caption", "c"}})}));
  CHECK(shown_record(*bare, 0) == "user: <image>\nassistant: c\n" + digest);
  const auto asked = open_records(write(d, "q.parquet", {{"image", Kind::binary}, {"question"}, {"answer"}},
                                        {Json::object({{"image", png}, {"question", "q"}, {"answer", "a"}})}));
  CHECK(shown_record(*asked, 0) == "user: <image>\nq\nassistant: a\n" + digest);
  const auto named = open_records(write(
      d, "n.parquet", {{"image"}, {"caption"}},
      {Json::object({{"image", "p.png"}, {"caption", "c"}}), Json::object({{"image", "no.png"}, {"caption", "c"}})}));
  CHECK(shown_record(*named, 0) == "user: <image>\nassistant: c\n" + digest);
  CHECK(test::contains(shown_record(*named, 1), "image_missing | "));
  CHECK(test::contains(message_of([&] {
                         open_records(write(d, "x.parquet", {{"a"}, {"b"}}, {Json::object()}));
                       }),
                       "x.parquet: expected a column conversations, messages, caption or question, found a text, b "
                       "text; these names are "
                       "fixed, no key chooses others"));
  CHECK(test::contains(message_of([&] { open_records(write(d, "x.parquet", {{"caption"}}, {})); }),
                       "x.parquet: no record"));
}

TEST_CASE("parquet records: where no column holds pictures the columns that there are, and their types, are named") {
  const DataSet d;
  const Json row = Json::object({{"caption", "c"}, {"picture", Json()}, {"n", 1}, {"x", 0.5}});
  const std::string path = write(
      d, "p.parquet",
      {{"caption"}, parquet_image("picture"), {"n", ParquetField::Kind::integer}, {"x", ParquetField::Kind::real}},
      {row});
  const auto records = open_records(path);
  CHECK(records->size() == 1);  // for texts alone it is well
  const std::string expected = path +
                               ": expected a column image or images, found caption text, picture struct<bytes "
                               "bytes, path text>, n integer, x real; these names are fixed, no key chooses "
                               "others: rename the column of the pictures";
  CHECK(records->without_pictures() == expected);
  CHECK(open_records(
            write(d, "q.parquet", {{"image"}, {"caption"}}, {Json::object({{"image", "p.png"}, {"caption", "c"}})}))
            ->without_pictures() == "");
}

TEST_CASE("parquet records: a damaged file among others, and a damaged page, are rejects (R-21)") {
  const DataSet d;
  const std::vector<Json> rows = example_rows(d, 20);
  const std::vector<ParquetField> columns = {
      {"id"}, parquet_image("image"), turns_field("conversations", "from", "value")};
  std::filesystem::create_directories(d.path("set"));
  const std::string good =
      read_file(write(d, "set/a.parquet", columns, rows, {.codec = ParquetCodec::none, .group_rows = 10}));
  write_durably(d.path("set/b.parquet"), good.substr(0, good.size() / 2));
  std::string bad = good;
  const ParquetFile file(d.path("set/a.parquet"));
  bad[static_cast<std::size_t>(file.groups()[1].chunks[1].begin) + 60] ^= 1;  // of a picture of the second row group
  write_durably(d.path("set/c.parquet"), bad);
  const auto records = open_records(d.path("set"));
  REQUIRE(records->size() == 41);
  for (std::int64_t i = 0; i < 41; ++i) {
    const std::string found = shown_record(*records, i);
    if (i < 20) CHECK(test::contains(found, cat("row ", i, " turn 0")));
    else if (i == 20) CHECK(test::contains(found, "damaged_shard | " + d.path("set/b.parquet")));
    else if (i < 31) CHECK(found == shown_record(*records, i - 21));
    else
      CHECK(
          test::contains(found, "damaged_shard | " + d.path("set/c.parquet") + ": row group 2, column 'image.bytes'"));
  }
}

}  // namespace ov::loader_test
