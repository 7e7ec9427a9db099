// data_curation.md 9, acceptance 6, and what dedup leaves out: from files to the manifest.
#include "curate/dedup.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <map>

#include "base/io/file.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "curate/embeddings.h"
#include "curate/prints.h"
#include "data/raw/drawn_records.h"
#include "image/encode.h"
#include "image/resize.h"
#include "store/parquet/rows.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/curate/manifest.h"

using namespace ov;
using test::manifest;

namespace {

// A ground of two colours that run into each other, and eight rectangles on it.
Image scene(std::uint64_t seed) {
  const Philox r(seed, "scene");
  std::uint64_t draws = 0;
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(r.below(draws++, static_cast<std::uint64_t>(n)));
  };
  Image image(120, 90);
  std::int64_t from[3], to[3];
  for (int c = 0; c < 3; ++c) from[c] = below(256), to[c] = below(256);
  for (std::int64_t y = 0; y < 90; ++y)
    for (std::int64_t x = 0; x < 120; ++x)
      for (int c = 0; c < 3; ++c)
        image.row(y)[3 * x + c] = static_cast<std::uint8_t>((from[c] * (210 - x - y) + to[c] * (x + y)) / 210);
  for (int k = 0; k < 8; ++k) {
    const std::int64_t left = below(100), top = below(70), width = 10 + below(40), height = 10 + below(40);
    std::uint8_t colour[3];
    for (auto& c : colour) c = static_cast<std::uint8_t>(below(256));
    for (std::int64_t y = top; y < std::min<std::int64_t>(top + height, 90); ++y)
      for (std::int64_t x = left; x < std::min<std::int64_t>(left + width, 120); ++x)
        std::copy_n(colour, 3, image.row(y) + 3 * x);
  }
  return image;
}

Image brighter(Image image) {
  for (auto& v : image.rgb) v = static_cast<std::uint8_t>(std::min(255, v + 10));
  return image;
}

// Pictures with the scene that each shows, as JSON lines, and embeddings of what they look like from afar.
struct Pictures {
  ScratchDirectory dir;
  std::map<std::string, std::vector<std::uint64_t>> scenes;  // of each file's records
  std::string lines;
  EmbeddingRows rows;
  std::string set;

  void begin(const std::string& name) { set = name, lines.clear(), rows = {}, scenes[name] = {}; }
  void add(std::uint64_t of, const Image& image, const std::string& bytes) {
    const auto i = static_cast<std::int64_t>(scenes[set].size());
    const std::string file = cat(set, i, ".img");
    write_durably(dir / file, bytes);
    lines += cat(R"({"image": ")", file, R"(", "caption": "c"})", "\n");
    const Image small = resize_bicubic(image, 12, 12);
    double mean = 0;
    for (const auto v : small.rgb) mean += v / static_cast<double>(small.rgb.size());
    for (const auto v : small.rgb) rows.values.push_back(static_cast<float>(v - mean));
    rows.ids.push_back(cat(set, ":", i)), rows.records.push_back(i), rows.sources.push_back(0);
    scenes[set].push_back(of);
  }
  void write() {
    write_durably(dir / (set + ".jsonl"), lines);
    rows.write(dir / (set + ".embeddings"), 432,
               {{"made_from", set}, {"sources", Json(Strings{dir / (set + ".jsonl")}).dump()}});
  }
  using Strings = std::vector<std::string>;

  // `n` scenes, each third of them four times more: stored again, scaled, brighter, and the same file.
  void fill(const std::string& name, std::uint64_t first, std::uint64_t n) {
    begin(name);
    for (std::uint64_t s = first; s < first + n; ++s) add(s, scene(s), encode_png(scene(s)));
    for (std::uint64_t s = first; s < first + n; s += 3) {
      const Image image = scene(s), smaller = resize_bicubic(image, 90, 68);
      add(s, image, encode_jpeg(image, 70));
      add(s, smaller, encode_png(smaller));
      add(s, brighter(image), encode_jpeg(brighter(image), 90));
      add(s, image, encode_png(image));
    }
    write();
  }
  DedupOptions options(const std::string& name) const {
    DedupOptions o;
    o.sources = {dir / (name + ".jsonl")};
    o.out = dir / (name + ".manifest");
    return o;
  }
};

std::int64_t number(const std::string& id) { return std::stoll(id.substr(id.rfind(':') + 1)); }

Json run(const DedupOptions& o) {
  return silently([&] { return dedup(o); });
}

}  // namespace

TEST_CASE("acceptance 6: planted near duplicates are found to 99 %, and what is left out was planted to 99 %") {
  Pictures p;
  p.fill("pool", 0, 240);
  DedupOptions o = p.options("pool");
  const auto shares = [&] {
    const auto& scenes = p.scenes.at("pool");
    double planted = 0, found = 0, out = 0, right = 0;
    for (const Json& row : manifest(o.out)) {
      const auto i = static_cast<std::size_t>(row.at("record").as_int());
      planted += i >= 240;
      const bool left_out = row.at("draws").as_int() == 0;
      out += left_out;
      const bool same = left_out && scenes[static_cast<std::size_t>(number(row.at("kept").as_string()))] == scenes[i];
      right += same;
      if (left_out && i >= 240) found += same;
      if (left_out && i < 240) CHECK(same);
    }
    return std::pair(found / planted, right / out);
  };
  Json report = run(o);
  const auto [hash_recall, hash_precision] = shares();
  MESSAGE("by digests and hashes: recall ", hash_recall, ", precision ", hash_precision);
  CHECK(hash_precision >= 0.99);
  CHECK(report.at("why").at("exact").as_int() >= 80);

  o.embeddings = {p.dir / "pool.embeddings"};
  report = run(o);
  const auto [recall, precision] = shares();
  MESSAGE("with embeddings: recall ", recall, ", precision ", precision);
  CHECK(recall >= 0.99);
  CHECK(precision >= 0.99);
  CHECK(report.at("in").as_int() == 560);
  std::int64_t left_out = 0;
  for (const auto& [reason, n] : report.at("why").members()) left_out += n.as_int();
  CHECK(report.at("out").as_int() + left_out == 560);
  // The manifest draws what is kept, by the command that trains.
  CHECK(drawn_records(open_records(o.sources[0]), o.out)->size() == report.at("out").as_int());
  // Of a group the most pixels are kept, of equal ones the first.
  for (const Json& row : manifest(o.out))
    if (row.at("draws").as_int()) CHECK(row.at("pixels").as_int() == 120 * 90);
}

TEST_CASE("dedup: what shows an evaluation's picture is left out, and says which; nothing else is") {
  Pictures p;
  p.fill("pool", 0, 30);
  p.begin("test");
  for (const std::uint64_t s : {6, 7, 1000}) p.add(s, scene(s), encode_jpeg(scene(s), 80));
  p.write();
  DedupOptions o = p.options("pool");
  o.against = {p.dir / "test.jsonl"};
  o.embeddings = {p.dir / "pool.embeddings", p.dir / "test.embeddings"};
  const Json report = run(o);
  CHECK(report.at("evaluation_records").as_int() == 3);
  for (const Json& row : manifest(o.out)) {
    const std::uint64_t s = p.scenes.at("pool")[static_cast<std::size_t>(row.at("record").as_int())];
    CHECK((row.at("reason").as_string() == "evaluation") == (s == 6 || s == 7));
    if (s == 7) CHECK(row.at("kept").as_string() == "test.jsonl:1");
  }
  CHECK(report.at("why").at("evaluation").as_int() == 6);
}

TEST_CASE("dedup: shards, threads and kills never change the manifest; a broken picture is a reject with its reason") {
  Pictures p;
  p.fill("pool", 0, 12);
  write_durably(p.dir / "pool3.img", "no picture");
  DedupOptions o = p.options("pool");
  o.embeddings = {p.dir / "pool.embeddings"};
  CHECK_THROWS_WITH_AS(run(o), doctest::Contains("1 of 28 records rejected"), Error);
  o.max_rejects = 1;
  const Json report = run(o);
  const std::string whole = read_file(o.out);
  CHECK(report.at("why").at("image_unusable").as_int() == 1);
  CHECK(manifest(o.out)[3].at("draws").as_int() == 0);
  for (const int n : {2, 3}) {
    set_threads(n);
    o.out = p.dir / cat("manifest", n);
    for (int i = n; i >= 1; --i) {
      o.shard = Shard::parse(cat(i, "/", n));
      CHECK(!run(o).is_object());
    }
    o.shard = Shard::parse("merge");
    run(o);
    CHECK(read_file(o.out) == whole);
  }
  set_threads(1);
  o.shard = {};
  o.out = p.dir / "killed";
  const int kills = kill_at_every_step([] {}, [&] { run(o); }, [&](const std::string&) {});
  CHECK(kills > 5);
  CHECK(read_file(o.out) == whole);
  set_threads(2);
}

TEST_CASE("dedup: a picture that cannot be read any more joins no others by its embedding, and parts none either") {
  Pictures p;
  // What cannot be read lies between the first two; of the rest each is near the other, and near to it.
  p.begin("pool");
  for (std::uint64_t s = 0; s < 5; ++s) p.add(s, scene(s), encode_png(scene(s)));
  const double degrees[] = {0, 12, 24, 90, 91};
  const auto point = [&](std::size_t row, double angle) {
    std::fill_n(p.rows.values.begin() + static_cast<std::ptrdiff_t>(432 * row), 432, 0.0F);
    p.rows.values[432 * row] = static_cast<float>(std::cos(angle * 3.14159265 / 180));
    p.rows.values[432 * row + 1] = static_cast<float>(std::sin(angle * 3.14159265 / 180));
  };
  const auto kept = [&](const double(&angles)[5]) {
    for (std::size_t i = 0; i < 5; ++i) point(i, angles[i]);
    p.write();
    DedupOptions o = p.options("pool");
    o.embeddings = {p.dir / "pool.embeddings"};
    o.max_rejects = 1;
    std::filesystem::remove(o.out);  // a picture in a file of its own may have changed, which no fingerprint tells
    run(o);
    std::string draws;
    for (const Json& row : manifest(o.out)) draws += std::to_string(row.at("draws").as_int());
    return draws;
  };
  CHECK(kept(degrees) == "10010");
  write_durably(p.dir / "pool1.img", "no picture");
  CHECK(kept(degrees) == "10110");               // 0 and 2 are 24 degrees apart
  CHECK(kept({0, 0.5, 1, 0.5, 90}) == "10001");  // all near record 1, and near each other without it
}

TEST_CASE("dedup: random pairs that reach the threshold are said, and no warning comes where they do not") {
  Pictures p;
  p.begin("pool");
  for (std::uint64_t i = 0; i < 60; ++i) p.add(i, scene(i), encode_png(scene(i)));
  // Directions of unit length, each 1 in a number of its own and `common` in one that all share: the cosine of two is
  // common² / (1 + common²).
  const auto embed_with = [&](float common) {
    std::fill(p.rows.values.begin(), p.rows.values.end(), 0.0F);
    for (std::size_t i = 0; i < 60; ++i) p.rows.values[432 * i] = common, p.rows.values[432 * i + 1 + i] = 1;
    p.write();
  };
  DedupOptions o = p.options("pool");
  o.embeddings = {p.dir / "pool.embeddings"}, o.distance = -1;
  embed_with(1);
  const Json apart = run(o);
  CHECK(apart.find("warning") == nullptr);
  CHECK(apart.at("out").as_int() == 60);
  const Json& pairs = apart.at("random_pairs");
  CHECK(pairs.at("pairs").as_int() > 3900);  // of 4096, but for rows drawn twice
  CHECK(pairs.at("pairs").as_int() < 4096);
  for (const char* key : {"mean", "median", "quantile_0.99", "largest"})
    CHECK(pairs.at(key).as_double() == doctest::Approx(0.5));
  CHECK(pairs.at("share_at_or_above").as_double() == 0);
  const ParquetFile file(o.out);
  CHECK(Json::parse(file.metadata("onevision.random_pairs"), o.out).dump() == pairs.dump());

  embed_with(7);  // 0.98
  o.out = p.dir / "weak";
  const Json weak = run(o);
  CHECK(weak.at("out").as_int() == 1);
  CHECK(weak.at("random_pairs").at("share_at_or_above").as_double() == 1);
  const std::string& said = weak.at("warning").as_string();
  CHECK_MESSAGE(
      said.find("100.0 % of random pairs reach dedup.cosine 0.960, and 59 of 60 records are left out") != said.npos,
      said);
  // What is known to be one picture is no random pair.
  Pictures same;
  same.begin("pool");
  for (int i = 0; i < 20; ++i) same.add(1, scene(1), encode_png(scene(1)));
  same.write();
  o = same.options("pool"), o.embeddings = {same.dir / "pool.embeddings"};
  CHECK(run(o).at("random_pairs").at("pairs").as_int() == 0);
}

TEST_CASE("dedup: cosines that differ in the eighth digit share no blocks") {
  Pictures p;
  p.fill("pool", 0, 3);
  DedupOptions o = p.options("pool");
  o.embeddings = {p.dir / "pool.embeddings"};
  o.shard = Shard::parse("1/1");
  const auto blocks = [&] {
    run(o);
    return std::filesystem::exists(o.out + ".blocks") ? 1 : 0;
  };
  REQUIRE(blocks() == 1);
  o.cosine = 0.9600004, o.shard = Shard::parse("merge");
  CHECK_THROWS_AS(run(o), Error);
}

TEST_CASE("dedup: hashes that differ in few bits are found whichever bits they are") {
  const Philox r(4, "hashes");
  std::vector<std::uint64_t> hash;
  for (std::uint64_t i = 0; i < 300; ++i) hash.push_back(r.u64(i));
  for (std::uint64_t i = 0; i < 300; ++i) {  // each with up to four bits turned
    std::uint64_t turned = 0;
    for (std::uint64_t k = 0; k < i % 5; ++k) turned |= std::uint64_t{1} << r.below(1000 + 5 * i + k, 64);
    hash.push_back(hash[i] ^ turned);
  }
  std::vector<std::int64_t> which(hash.size());
  for (std::size_t i = 0; i < which.size(); ++i) which[i] = static_cast<std::int64_t>(i);
  for (const int distance : {0, 1, 2, 3}) {
    const auto n = static_cast<std::int64_t>(hash.size());
    Groups fast(n), slow(n);
    near_hashes(hash, which, distance, [&](std::int64_t i, std::int64_t j) { fast.join(i, j); });
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < i; ++j)
        if (std::popcount(hash[static_cast<std::size_t>(i)] ^ hash[static_cast<std::size_t>(j)]) <= distance)
          slow.join(i, j);
    for (std::int64_t i = 0; i < n; ++i) CHECK(fast.find(i) == slow.find(i));
  }
}
