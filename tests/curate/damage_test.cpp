// Blocks that were damaged, embeddings and region files that are others than what they are taken for.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/io/file.h"
#include "curate/balance.h"
#include "curate/cluster.h"
#include "curate/dedup.h"
#include "curate/embeddings.h"
#include "data/raw/records.h"
#include "data/raw/regions.h"
#include "image/encode.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using test::contains, test::thrown;
namespace fs = std::filesystem;

namespace {

constexpr int width = 8;

// n rows of a space of 8 dimensions, in the file NAME, and what its metadata say.
void write_rows(const std::string& path, int n, Metadata metadata) {
  EmbeddingRows rows;
  for (int i = 0; i < n; ++i) {
    for (int c = 0; c < width; ++c) rows.values.push_back(static_cast<float>((i * 7 + c * c * 3 + i * c) % 23 - 11));
    rows.ids.push_back(cat("row ", i)), rows.records.push_back(i), rows.sources.push_back(0);
  }
  rows.write(path, width, std::move(metadata));
}

std::vector<std::string> blocks_of(const std::string& out) {
  std::vector<std::string> all;
  for (const auto& entry : fs::directory_iterator(out + ".blocks"))
    if (entry.path().filename().string().find('.') == std::string::npos) all.push_back(entry.path().string());
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

TEST_CASE("blocks: one whose bytes are others is refused by who joins, and made again by who makes") {
  const ScratchDirectory dir;
  const int n = 2 * EmbeddingPool::part_rows + 100;
  write_rows(dir / "pictures", n, {{"made_from", "a"}, {"sources", "[\"pool\"]"}});
  write_rows(dir / "words", 30, {{"made_from", "b"}, {"sources", "[\"words\"]"}});
  BalanceOptions o;
  o.pictures = {dir / "pictures"}, o.concepts = dir / "words", o.out = dir / "out", o.k = 2, o.n = 500;
  const auto run = [&](const char* shard) {
    o.shard = Shard::parse(shard);
    return thrown([&] { silently([&] { balance(o); }); });
  };
  CHECK(run("") == "");
  const std::string whole = read_file(o.out);
  const auto after = [&](auto&& damage) {
    fs::remove(o.out + ".report.json");
    REQUIRE(run("1/1") == "");
    const auto all = blocks_of(o.out);
    REQUIRE(all.size() == 3);
    damage(all);
    const std::string said = run("merge");
    CHECK(run("") == "");
    CHECK(read_file(o.out) == whole);
    return said;
  };
  const std::string flipped = after([](const auto& all) {
    std::string bytes = read_file(all[0]);
    bytes[bytes.size() - 9] ^= 64;
    std::ofstream(all[0], std::ios::binary) << bytes;
  });
  CHECK_MESSAGE(contains(flipped, "-00000000: its bytes are not those that were written; remove "), flipped);
  // Another block's, whole and with its digest.
  const std::string another = after([](const auto& all) {
    fs::copy_file(all[1], all[0], fs::copy_options::overwrite_existing);
    fs::copy_file(all[1] + ".sha256", all[0] + ".sha256", fs::copy_options::overwrite_existing);
  });
  CHECK_MESSAGE(contains(another, "-00000000: its bytes are not those that were written"), another);
  const std::string without = after([](const auto& all) { fs::remove(all[2] + ".sha256"); });
  CHECK_MESSAGE(contains(without, "1 of 3 blocks are missing"), without);
}

TEST_CASE("dedup: embeddings of another data set of the same name are refused") {
  const ScratchDirectory dir;
  make_directories(dir / "a"), make_directories(dir / "b");
  for (const char* folder : {"a", "b"}) {
    std::string lines;
    for (int i = 0; i < 3; ++i) {
      Image image(20, 20);
      for (std::size_t k = 0; k < image.rgb.size(); ++k)
        image.rgb[k] = static_cast<std::uint8_t>(k * static_cast<std::size_t>(i * 5 + *folder) % 251);
      write_durably(dir / folder + cat("/", i, ".png"), encode_png(image));
      lines += Json::object({{"image", cat(i, ".png")}, {"caption", cat(folder, " ", i)}}).dump() + "\n";
    }
    write_durably(dir / folder + "/set.jsonl", lines);
  }
  const auto fingerprint = open_records(dir / "a/set.jsonl")->fingerprint();
  write_rows(dir / "rows", 3,
             {{"made_from", "a"}, {"sources", "[\"set.jsonl\"]"}, {"fingerprints", "[\"" + fingerprint + "\"]"}});
  DedupOptions o;
  o.embeddings = {dir / "rows"}, o.out = dir / "out", o.cosine = 0.999;
  const auto run = [&](const std::string& set) {
    o.sources = {dir / set};
    return thrown([&] { silently([&] { dedup(o); }); });
  };
  CHECK(run("a/set.jsonl") == "");
  const std::string said = run("b/set.jsonl");
  CHECK_MESSAGE(contains(said, "b/set.jsonl: is another set.jsonl than dedup.embeddings were made of"), said);
  // An evaluation of which nothing can be read would leave nothing out.
  write_durably(dir / "test.jsonl", R"({"image": "none.png", "question": "q", "answer": "a"})");
  o.embeddings = {}, o.against = {dir / "test.jsonl"}, o.max_rejects = 9;
  const std::string unread = run("a/set.jsonl");
  CHECK_MESSAGE(contains(unread, "test.jsonl: none of its 1 records has a picture that can be read"), unread);
  // Questions and answers, as evaluations are written, are compared.
  write_durably(dir / "test.jsonl", R"({"image": "a/1.png", "question": "q", "answer": "a"})");
  CHECK(run("a/set.jsonl") == "");
  CHECK(Json::read(o.out + ".report.json").at("why").at("evaluation").as_int() == 1);
}

TEST_CASE("cluster: names and classes of another version of the region file are refused") {
  const ScratchDirectory dir;
  const std::string file = dir / "regions.jsonl";
  std::string lines;
  for (int i = 0; i < 24; ++i)
    lines += cat(R"({"image": "p.png", "objects": [{"class": ")", i % 2 ? "ring" : "cube",
                 R"(", "box": [0, 0, 10, 10]}], "ocr": []})", "\n");
  write_durably(file, lines);
  const std::string fingerprint = RegionFile(file).fingerprint();
  EmbeddingRows rows;
  for (int i = 0; i < 24; ++i) {
    for (int c = 0; c < width; ++c) rows.values.push_back(c == i % 2 ? 1.f : 0.01f * static_cast<float>(i));
    rows.ids.push_back(cat(i)), rows.records.push_back(i), rows.sources.push_back(0), rows.regions.push_back(0);
  }
  rows.write(dir / "rows", width,
             {{"made_from", "a"}, {"sources", "[\"regions.jsonl\"]"}, {"fingerprints", "[\"" + fingerprint + "\"]"}});
  ClusteringOptions o;
  o.embeddings = {dir / "rows"}, o.k = 2, o.out = dir / "out", o.names = file;
  const auto run = [&] { return thrown([&] { silently([&] { cluster(o); }); }); };
  CHECK(run() == "");
  CHECK(RegionFile(file, o.out).classes().size() == 2);
  write_durably(file, lines + lines.substr(0, lines.find('\n') + 1));
  const std::string said = thrown([&] { RegionFile(file, o.out); });
  CHECK_MESSAGE(contains(said, "regions.jsonl: has changed since "), said);
  const std::string named = run();
  CHECK_MESSAGE(contains(named, "rows: was not embedded from "), named);
}
