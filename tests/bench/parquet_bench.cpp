// Parquet files of pictures and conversations, the image data sets' layout, read on one core: to columns, and to rows
// with everything but the pictures as JSON. Peer, with --arrow PYTHON: pyarrow to columns, which writes the file too
// (tests/bench/arrow_parquet.py). Without it the file is our writer's.
#include <cstdio>
#include <filesystem>

#include "base/parallel.h"
#include "base/rng.h"
#include "store/parquet/rows.h"
#include "store/parquet/writer.h"
#include "tests/bench/torch_peer.h"

namespace ov::bench {
namespace {

constexpr int rows = 1000;

// As arrow_parquet.py writes it: pictures do not compress, row groups of 100 rows.
void write(const std::string& path) {
  using Kind = ParquetField::Kind;
  ParquetWriter file(
      path,
      {{"id"},
       parquet_image("image"),
       {"conversations", Kind::list, {{"", Kind::structure, {{"from", Kind::text}, {"value", Kind::text}}}}}},
      {.group_rows = 100});
  for (std::uint64_t i = 0; i < rows; ++i) {
    const Philox random(1, "bench parquet", i);
    std::string picture(40'000 + random.below(0, 80'000), '\0');
    for (std::size_t b = 0; b < picture.size(); ++b) picture[b] = static_cast<char>(random.below(1 + b, 256));
    Json turns = Json::array();
    for (int t = 0; t < 4; ++t)
      turns.push(Json::object({{"from", t % 2 ? "gpt" : "human"}, {"value", cat("Turn ", t, " of record ", i)}}));
    file.add(Json::object({{"id", cat("record-", i)},
                           {"image", Json::object({{"bytes", picture}, {"path", cat(i, ".jpg")}})},
                           {"conversations", turns}}));
  }
  file.finish();
}

// Bytes of pictures and of JSON, so that nothing is left out.
std::size_t read(const std::string& path, bool to_rows) {
  const ParquetFile file(path);
  std::size_t bytes = 0;
  for (std::size_t g = 0; g < file.groups().size(); ++g) {
    const ParquetRows group(file, g);
    std::string json;
    for (std::int64_t row = 0; to_rows && row < file.groups()[g].rows; ++row) {
      json.clear();
      group.append_json(
          row,
          [&](std::string_view picture, std::string* out) {
            bytes += picture.size();
            *out += "\"\"";
          },
          &json);
      bytes += json.size();
    }
  }
  return bytes;
}

void run() {
  std::filesystem::create_directories("build/bench-inputs");
  const std::string path = "build/bench-inputs/pictures.parquet";
  std::unique_ptr<Peer> arrow;
  if (!arrow_python().empty()) {
    arrow = std::make_unique<Peer>(arrow_python(), "tests/bench/arrow_parquet.py", cat(rows), 1, 1);
    if (arrow->facts.is_null())
      std::printf("  %s does not run tests/bench/arrow_parquet.py: no peer\n", arrow_python().c_str()), arrow = nullptr;
  }
  if (arrow) arrow->seconds("write " + path);
  else write(path);
  const int all = threads();
  set_threads(1);
  std::printf("parquet: %d pictures with conversations, snappy, row groups of 100, one thread\n", rows);
  std::vector<double> columns, records, theirs;
  for (int round = 0; round < 10; ++round) {  // the first warms the cache of files
    const double start = seconds();
    read(path, false);
    const double between = seconds();
    read(path, true);
    const double end = seconds();
    const double peer = arrow ? arrow->seconds("read " + path) : 0;
    if (round > 0) columns.push_back(between - start), records.push_back(end - between), theirs.push_back(peer);
  }
  set_threads(all);
  const double size = static_cast<double>(std::filesystem::file_size(path)) * 1e-6;
  const auto line = [&](const std::string& name, const std::vector<double>& times) {
    const double s = summary(times).median;
    std::printf("  %-32s median %7.1f ms  %7.0f MB/s\n", name.c_str(), 1e3 * s, size / s);
    return s;
  };
  const double ours = line("ours, to columns", columns), whole = line("ours, to rows", records);
  if (!arrow) return;
  const double s = line(arrow->facts.dump(), theirs);
  std::printf("  pyarrow's time / ours: %.2f to columns, %.2f to rows\n", s / ours, s / whole);
}

const Benchmark registered("parquet", run);

}  // namespace
}  // namespace ov::bench
