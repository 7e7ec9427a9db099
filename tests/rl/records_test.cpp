// Records of RL as the release has them: a directory of Parquet files; types that no verifier is for.
#include "rl/records.h"

#include <filesystem>

#include "base/io/file.h"
#include "image/decode.h"
#include "store/parquet/writer.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

namespace ov::test {

using namespace rl;

TEST_CASE("rl: a directory of Parquet files is one set of records, with the pictures of each file") {
  const ScratchDirectory dir;
  std::filesystem::create_directories(dir / "stage/b");
  std::filesystem::create_directories(dir / "stage/a");
  std::filesystem::copy_file("tests/golden/rl/records.parquet", dir / "stage/b/1.parquet");
  const RecordFile one("tests/golden/rl/records.parquet", "");
  const RecordFile in_directory(dir / "stage", "");
  REQUIRE(in_directory.records().size() == one.records().size());
  CHECK(in_directory.fingerprint() == one.fingerprint());
  const auto& records = one.records();
  std::filesystem::copy_file("tests/golden/rl/records.parquet", dir / "stage/a/2.parquet");
  CHECK(test::contains(thrown([&] { RecordFile(dir / "stage", ""); }, Exit::wrong_input),
                       cat("the id '", records[0].id, "' stands twice")));
  std::filesystem::remove(dir / "stage/a/2.parquet");
  for (std::size_t i = 0; i < records.size(); ++i) {
    CHECK(in_directory.records()[i].where == cat(dir / "stage/b/1.parquet", ": row ", i + 1));
    CHECK(in_directory.pictures(in_directory.records()[i]) == one.pictures(records[i]));
  }
  CHECK(test::contains(thrown([&] { RecordFile(dir / "stage/a", ""); }, Exit::wrong_input), "no Parquet file"));
  // A file in front of it, with another picture in its first row.
  ParquetWriter more(dir / "stage/a/1.parquet",
                     {{"id"}, {"problem"}, {"answer"}, {"images", ParquetField::Kind::list, {parquet_image("item")}}});
  const std::string picture(MappedFile::open("tests/golden/images_fast/rgb.png")->text());
  more.add(Json::object({{"id", "more"},
                         {"problem", "<image>?"},
                         {"answer", "1"},
                         {"images", std::vector<Json>{Json::object({{"bytes", picture}})}}}));
  more.finish();
  const RecordFile both(dir / "stage", "");
  REQUIRE(both.records().size() == records.size() + 1);
  CHECK(both.fingerprint() != one.fingerprint());
  CHECK(both.records()[0].where == cat(dir / "stage/a/1.parquet", ": row 1"));
  CHECK(both.pictures(both.records()[0]) == std::vector<Image>{read_image("tests/golden/images_fast/rgb.png")});
  for (std::size_t i = 0; i < records.size(); ++i)
    CHECK(both.pictures(both.records()[i + 1]) == one.pictures(records[i]));
}

}  // namespace ov::test
