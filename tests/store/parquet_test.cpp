#include "store/parquet/writer.h"

#include <filesystem>

#include "base/io/file.h"
#include "store/parquet/decode.h"
#include "store/parquet/rows.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using test::contains;

namespace {

using Kind = ParquetField::Kind;

std::string hex(std::string_view bytes) {
  std::string out = "\"";
  for (const char c : bytes) (out += "0123456789abcdef"[c >> 4 & 15]) += "0123456789abcdef"[c & 15];
  return out + "\"";
}

std::vector<std::string> rows_of(const ParquetFile& file, const std::vector<std::string>& names = {}) {
  std::vector<std::string> out;
  for (std::size_t g = 0; g < file.groups().size(); ++g) {
    const ParquetRows rows(file, g, names);
    for (std::int64_t row = 0; row < file.groups()[g].rows; ++row)
      rows.append_json(
          row, [](std::string_view b, std::string* to) { *to += hex(b); }, &out.emplace_back());
  }
  return out;
}

const std::vector<ParquetField> columns = {
    {"id", Kind::integer},
    {"flag", Kind::boolean},
    {"score", Kind::real},
    parquet_image("image"),
    {"turns", Kind::list, {{"", Kind::structure, {{"from", Kind::text}, {"value", Kind::text}}}}},
    {"grid", Kind::list, {{"", Kind::list, {{"", Kind::integer}}}}},
    {"pictures", Kind::list, {parquet_image("")}}};

// Rows with nulls, empty lists and values in turn on every level.
std::vector<Json> example_rows(int n) {
  std::vector<Json> out;
  for (int i = 0; i < n; ++i) {
    const std::string bytes = std::string(static_cast<std::size_t>(i % 7), '\xff') + std::string("\0a", 2);
    Json row = Json::object({{"id", i % 5 ? Json(i - 50) : Json()}, {"flag", i % 3 == 0}, {"score", i / 8.0}});
    if (i % 4) row.set("image", Json::object({{"bytes", bytes}, {"path", i % 2 ? Json("a.jpg") : Json()}}));
    Json turns = Json::array(), grid = Json::array(), pictures = Json::array();
    for (int k = 0; k < i % 4; ++k) {
      turns.push(k == 1 ? Json()
                        : Json::object({{"from", "human"}, {"value", std::string(20, static_cast<char>('a' + k))}}));
      grid.push(k == 2 ? Json() : k == 1 ? Json::array() : Json(std::vector<std::int64_t>{i, k, -i}));
      pictures.push(Json::object({{"bytes", bytes}, {"path", Json()}}));
    }
    row.set("turns", i % 6 == 5 ? Json() : turns);
    row.set("grid", grid);
    row.set("pictures", pictures);
    out.push_back(row);
  }
  return out;
}

// A row as the reader shows it: columns in order, those that are missing null, bytes in hex.
std::string shown_row(const Json& row) {
  const auto picture = [](const Json& p) {
    return cat("{\"bytes\":", hex(p.at("bytes").as_string()), ",\"path\":", p.at("path").dump(), "}");
  };
  std::string out =
      cat("{\"id\":", row.at("id").dump(), ",\"flag\":", row.at("flag").dump(), ",\"score\":", row.at("score").dump(),
          ",\"image\":", row.find("image") ? picture(row.at("image")) : "null", ",\"turns\":", row.at("turns").dump(),
          ",\"grid\":", row.at("grid").dump(), ",\"pictures\":[");
  for (const Json& p : row.at("pictures").items()) out += (out.back() == '[' ? "" : ",") + picture(p);
  return out + "]}";
}

void write(const std::string& path, const std::vector<Json>& rows, ParquetWriterOptions options) {
  ParquetWriter writer(path, columns, options);
  for (const Json& row : rows) writer.add(row);
  writer.finish();
}

}  // namespace

TEST_CASE("parquet: what is written is read back, whatever the codec, the row groups and the pages") {
  const ScratchDirectory dir;
  for (const int n : {0, 1, 7, 100})
    for (const ParquetCodec codec : {ParquetCodec::none, ParquetCodec::snappy, ParquetCodec::gzip, ParquetCodec::zstd})
      for (const std::int64_t page : {40, 1 << 20}) {
        const std::vector<Json> rows = example_rows(n);
        const ParquetWriterOptions options{.codec = codec, .group_rows = 30, .page_bytes = page};
        write(dir / "a.parquet", rows, options);
        const ParquetFile file(dir / "a.parquet");
        std::vector<std::string> expected;
        for (const Json& row : rows) expected.push_back(shown_row(row));
        CHECK(rows_of(file) == expected);
        write(dir / "b.parquet", rows, options);
        CHECK(read_file(dir / "a.parquet") == read_file(dir / "b.parquet"));
      }
  CHECK(ParquetFile(dir / "a.parquet").groups().size() == 4);
}

TEST_CASE("parquet: one row by itself is the row among all, and reads no page but its own") {
  const ScratchDirectory dir;
  const std::vector<Json> rows = example_rows(100);
  write(dir / "a.parquet", rows, {.codec = ParquetCodec::none, .group_rows = 50, .page_bytes = 40});
  const std::string good = read_file(dir / "a.parquet");
  const ParquetFile file(dir / "a.parquet");
  const auto one = [](const ParquetFile& from, std::int64_t row, const std::vector<std::string>& names) {
    std::string out;
    ParquetRows(from, static_cast<std::size_t>(row / 50), names, row % 50)
        .append_json(
            row % 50, [](std::string_view b, std::string* to) { *to += hex(b); }, &out);
    return out;
  };
  for (std::int64_t row = 0; row < 100; ++row)
    CHECK(one(file, row, {}) == shown_row(rows[static_cast<std::size_t>(row)]));

  // The first page of "score" is damaged: rows beyond it, and other columns, do not notice.
  std::string bad = good;
  const std::int64_t begin = file.groups()[0].chunks[2].begin;
  for (std::size_t at = static_cast<std::size_t>(begin) + 30; at < static_cast<std::size_t>(begin) + 40; ++at)
    bad[at] ^= 1;
  const ParquetFile damaged(MappedFile::of(bad, "x.parquet"));
  CHECK(contains(test::thrown([&] { one(damaged, 0, {"score"}); }), "column 'score': page 1: its checksum is"));
  CHECK(one(damaged, 40, {"score"}) == one(file, 40, {"score"}));
  CHECK(rows_of(damaged, {"id", "turns"}) == rows_of(file, {"id", "turns"}));
  CHECK(rows_of(file, {"id"})[1] == "{\"id\":-49}");
}

TEST_CASE("parquet: an index behind the end of its dictionary is refused") {
  ParquetValues dictionary;
  dictionary.integers = {7, 8, 9};
  const auto chosen = [&](char index) {  // twice, as a run of indices of 3 bits
    const std::string page{3, 4, index};
    std::size_t spare = 0;
    ParquetValues out;
    decode_values(ParquetEncoding::rle_dictionary, page, 2, {}, &dictionary, &spare, &out);
    return out.integers;
  };
  CHECK(chosen(2) == std::vector<std::int64_t>{9, 9});
  for (const char index : {3, 7})
    CHECK(contains(test::thrown([&] { chosen(index); }), cat("index ", int{index}, " of a dictionary of 3")));
}

TEST_CASE("parquet: a boolean says that a column is optional or required, as fastparquet writes it") {
  const ScratchDirectory dir;
  ParquetWriter writer(dir / "a.parquet", {{"id", Kind::integer}});
  for (int i = 0; i < 3; ++i) writer.add(Json::object({{"id", i == 1 ? Json() : Json(i)}}));
  writer.finish();
  const std::string file = read_file(dir / "a.parquet"), number = "\x25\x02\x18\x02id";
  const std::size_t at = file.find(number), length = file.size() - 8;
  REQUIRE(at != file.npos);
  const auto with = [&](const char* field) {  // in the place of the number, and the footer a byte shorter
    std::string changed = file;
    --changed[length];
    write_durably(dir / "b.parquet", changed.replace(at, 2, field));
    return ParquetFile(dir / "b.parquet");
  };
  CHECK(rows_of(with("\x21")) == rows_of(ParquetFile(dir / "a.parquet")));
  CHECK(with("\x22").leaves()[0].max_definition == 0);
}

TEST_CASE("parquet: a null ARRAY, for which DuckDB writes an entry for each of its elements, is one null") {
  // DuckDB 2.0.1: a INTEGER[2], b INTEGER[2][], c STRUCT(v VARCHAR[2], n INTEGER), d INTEGER[][2]
  const ParquetFile file("tests/fuzz/corpus/parquet/duckdb_null_array");
  CHECK(rows_of(file) ==
        std::vector<std::string>{R"({"a":[1,2],"b":[[3,4],null],"c":{"v":["x","y"],"n":1},"d":[[1],null]})",
                                 R"({"a":null,"b":[],"c":{"v":null,"n":2},"d":null})",
                                 R"({"a":[5,null],"b":null,"c":null,"d":[[],[6,7]]})",
                                 R"({"a":[null,null],"b":[null],"c":{"v":[null,"z"],"n":null},"d":[null,[8]]})"});
}

TEST_CASE("parquet: a row with a value of another kind is refused and leaves no trace") {
  const ScratchDirectory dir;
  const std::vector<Json> rows = example_rows(10);
  ParquetWriter writer(dir / "a.parquet", columns);
  for (const Json& row : rows) {
    Json wrong = row;
    wrong.set("turns", Json::parse(R"([{"from": "human", "value": "x"}, {"from": 3}])", ""));
    CHECK(contains(test::thrown([&] { writer.add(wrong); }), "column turns: expected a string, found an integer"));
    writer.add(row);
  }
  CHECK_FALSE(path_exists(dir / "a.parquet"));
  writer.finish();
  write(dir / "b.parquet", rows, {});
  CHECK(read_file(dir / "a.parquet") == read_file(dir / "b.parquet"));
}

TEST_CASE("parquet writer: a text that is no UTF-8 is refused, and the row is not written; bytes may be any") {
  const ScratchDirectory dir;
  ParquetWriter writer(dir / "t.parquet", {{"text"}, {"bytes", Kind::binary}});
  writer.add(Json::object({{"text", "a"}, {"bytes", "\xff"}}));
  CHECK_THROWS_WITH_AS(writer.add(Json::object({{"text", "a\xff"}, {"bytes", "b"}})), doctest::Contains("text: byte"),
                       Error);
  writer.finish();
  CHECK(ParquetFile(dir / "t.parquet").rows() == 1);
}
