#include "data/raw/drawn_records.h"

#include <doctest/doctest.h>

#include "base/error.h"
#include "base/io/file.h"
#include "store/parquet/writer.h"
#include "tests/base/scratch.h"

using namespace ov;

namespace {

struct Row {
  std::string source;
  std::int64_t record, draws;
};

void write_manifest(const std::string& path, const std::vector<Row>& rows) {
  using Kind = ParquetField::Kind;
  ParquetWriter out(path, {{"source"}, {"record", Kind::integer}, {"draws", Kind::integer}}, {.group_rows = 2});
  for (const Row& r : rows) out.add(Json::object({{"source", r.source}, {"record", r.record}, {"draws", r.draws}}));
  out.finish();
}

}  // namespace

TEST_CASE("a manifest draws records of a data set: those, in its order, as often as it says") {
  const ScratchDirectory dir;
  const std::string data = dir / "a.jsonl", manifest = dir / "m.parquet";
  std::string lines;
  for (int i = 0; i < 5; ++i) lines += Json::object({{"image", "x"}, {"caption", cat("c", i)}}).dump() + "\n";
  write_durably(data, lines);
  const auto drawn = [&] { return drawn_records(open_records(data), manifest); };
  CHECK(drawn_records(open_records(data), "")->size() == 5);
  write_manifest(manifest, {{data, 4, 1}, {data, 0, 0}, {"other", 7, 1}, {data, 2, 2}, {data, 1, 1}});
  const auto some = drawn();
  std::string seen;
  for (std::int64_t i = 0; i < some->size(); ++i) seen += some->read(i).turns.back().text;
  CHECK(seen == "c4c2c2c1");
  CHECK(some->fingerprint() != open_records(data)->fingerprint());
  write_manifest(manifest, {{data, 4, 1}, {data, 2, 2}, {data, 1, 1}});
  CHECK(drawn()->fingerprint() == some->fingerprint());
  write_manifest(manifest, {{data, 4, 1}});
  CHECK(drawn()->fingerprint() != some->fingerprint());
  write_manifest(manifest, {{data, 5, 1}});
  CHECK_THROWS_WITH_AS(drawn(), doctest::Contains("row 0 is record 5"), Error);
  write_manifest(manifest, {{data, 0, 1}, {data, 1, -1}});
  CHECK_THROWS_WITH_AS(drawn(), doctest::Contains("row 1 has -1 draws"), Error);
  write_manifest(manifest, {{"other", 0, 1}});
  CHECK_THROWS_WITH_AS(drawn(), doctest::Contains("its rows are of other"), Error);
}
