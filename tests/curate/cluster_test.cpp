// The command's library from end to end: a manifest that shards, threads and kills do not change, K clusters of which
// none is empty, and classes for RICE out of it.
#include "curate/cluster.h"

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>

#include "base/io/file.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "curate/embeddings.h"
#include "curate/kmeans.h"
#include "data/raw/regions.h"
#include "data/reject.h"
#include "store/parquet/writer.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/curate/manifest.h"

using namespace ov;
using test::contains, test::manifest, test::thrown;

namespace {

constexpr std::int64_t width = 12;

// Directions around `clouds` middles; of a region file when `region_file` is not "", two objects a picture.
void write_rows(const std::string& path, std::int64_t n, std::int64_t clouds, const std::string& region_file = "") {
  const Philox middle(3, "middle"), around(3, path.substr(path.rfind('/') + 1));
  EmbeddingRows rows;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t cloud = region_file.empty() ? i * 7 % clouds : i % 4;
    for (std::int64_t c = 0; c < width; ++c)
      rows.values.push_back(middle.normal(static_cast<std::uint64_t>(cloud * width + c)) +
                            0.2f * around.normal(static_cast<std::uint64_t>(i * width + c)));
    rows.ids.push_back(cat(path.substr(path.rfind('/') + 1), ":", i));
    rows.records.push_back(region_file.empty() ? i : i / 2), rows.sources.push_back(0);
    if (!region_file.empty()) rows.regions.push_back(i % 2);
  }
  rows.write(path, width,
             {{"made_from", path.substr(path.rfind('/') + 1)},
              {"sources", Json(std::vector<std::string>{region_file.empty() ? "pool" : region_file}).dump()}});
}

struct Setup {
  ScratchDirectory dir;
  ClusteringOptions options;
  Setup() {
    write_rows(dir / "a", 17000, 40);
    write_rows(dir / "b", 3000, 40);
    options.embeddings = {dir / "a", dir / "b"};
    options.k = 60, options.cells = 6, options.iterations = 3;
    options.out = dir / "manifest";
  }
  std::string result() const {
    return read_file(options.out) + read_file(options.out + ".report.json") +
           read_file(options.out + ".centres.safetensors");
  }
  std::string made() {
    cluster(options);
    return result();
  }
};

}  // namespace

TEST_CASE("cluster: every row has its nearest of all K centres, flat or by cells, and no cluster is empty") {
  Setup s;
  for (const std::int64_t cells : {1, 6}) {
    s.options.cells = cells;
    const Json report = cluster(s.options);
    const Tensor centres = Safetensors::open(s.options.out + ".centres.safetensors").tensor("centres");
    const auto counts =
        Safetensors::open(s.options.out + ".centres.safetensors").tensor("counts").to_vector<std::int64_t>();
    REQUIRE(centres.shape() == Shape{60, width});
    const std::vector<Json> rows = manifest(s.options.out);
    REQUIRE(rows.size() == 20000);
    std::vector<std::int64_t> counted(60);
    std::int64_t wrong = 0;
    double objective = 0;
    const EmbeddingPool pool(s.options.embeddings);
    for (const auto& p : pool.parts) {
      const Assignment a = assign(pool.files[p.file].directions(p.begin, p.end), centres);
      for (std::int64_t i = p.begin; i < p.end; ++i) {
        const Json& row = rows[static_cast<std::size_t>(p.first + i - p.begin)];
        const auto at = static_cast<std::size_t>(i - p.begin);
        wrong += row.at("cluster").as_int() != a.cluster[at] || row.at("distance").as_double() != a.distance[at];
        wrong += row.at("id").as_string() != pool.files[p.file].id(i) || !row.at("region").is_null();
        ++counted[static_cast<std::size_t>(row.at("cluster").as_int())], objective += a.distance[at];
      }
    }
    CHECK(wrong == 0);
    CHECK(counted == counts);
    CHECK(*std::min_element(counts.begin(), counts.end()) >= 1);
    CHECK(report.at("objective").as_double() == doctest::Approx(objective).epsilon(1e-12));
    const Json& iterations = report.at("iterations");
    for (std::size_t i = 1; i < iterations.size(); ++i)
      if (iterations[i].at("stage").as_string() == iterations[i - 1].at("stage").as_string())
        CHECK(iterations[i].at("objective").as_double() <= iterations[i - 1].at("objective").as_double() * (1 + 1e-12));
    CHECK(report.at("empty").as_int() == 0);
    CHECK(!path_exists(s.options.out + ".blocks"));
  }
}

TEST_CASE("cluster: shards, threads and kills never change a byte") {
  Setup s;
  const std::string whole = s.made();
  for (const int n : {1, 3}) {
    s.options.out = s.dir / cat("manifest", n);
    set_threads(n);
    for (int round = 0; !path_exists(s.options.out); ++round) {
      REQUIRE(round < 30);
      for (int i = n; i > 0; --i) {
        s.options.shard = Shard::parse(cat(i, "/", n));
        CHECK(cluster(s.options).is_null());
      }
      s.options.shard = Shard::parse("merge");
      const Json report = cluster(s.options);
      CHECK(report.is_null() == !path_exists(s.options.out));
    }
    CHECK(s.result() == whole);
    s.options.shard = {};
  }
  set_threads(2);
  s.options.out = s.dir / "none", s.options.shard = Shard::parse("merge");
  CHECK_THROWS_WITH_AS(cluster(s.options), doctest::Contains("blocks are missing"), Error);
  s.options.shard = {};
  // Ended at any of its writes, the next run goes on from there.
  s.options.out = s.dir / "killed";
  int kills = 0;
  set_threads(1);  // a child has no other
  for (int step = 5; in_child([&] {
                       set_threads(1);
                       die_at_step(step);
                       silently([&] { return cluster(s.options); });
                     }) != 0;
       step += 23)
    ++kills;
  set_threads(2);
  CHECK(kills >= 3);
  CHECK(s.made() == whole);
  CHECK(!path_exists(s.options.out + ".blocks"));
}

TEST_CASE("cluster: ended at any step it leaves nothing behind once a run comes to its end") {
  const ScratchDirectory dir;
  write_rows(dir / "a", 60, 6);
  ClusteringOptions o;
  o.embeddings = {dir / "a"}, o.out = dir / "whole", o.k = 4, o.cells = 2, o.iterations = 2, o.tolerance = 0;
  cluster(o);
  const std::string whole = read_file(o.out);
  set_threads(1);  // a child has no other
  const auto fresh = [&] {
    std::filesystem::remove_all(dir / "killed.blocks");
    for (const char* end : {"", ".report.json", ".centres.safetensors"})
      std::filesystem::remove(dir / cat("killed", end));
  };
  o.out = dir / "killed";
  std::int64_t wrong = 0, between = 0;
  const int kills = kill_at_every_step(
      fresh, [&] { silently([&] { return cluster(o); }); },
      [&](const std::string& where) {
        // Between save() and the removal of what is spent: blocks of two iterations, of one part each, and the state.
        std::int64_t files = 0;
        if (path_exists(o.out + ".blocks"))
          for (const auto& entry : std::filesystem::directory_iterator(o.out + ".blocks"))
            files += entry.path().filename().string().front() != '.';
        between += files > 2;
        if (in_child([&] { silently([&] { return cluster(o); }); }) == 0 && read_file(o.out) == whole &&
            !path_exists(o.out + ".blocks"))
          return;
        ++wrong;
        MESSAGE("wrong after ", where);
      });
  set_threads(2);
  CHECK(kills > 20);
  CHECK(between > 0);
  CHECK(wrong == 0);
}

TEST_CASE("cluster: a run reads its state under the lock and so never one that a merge replaces meanwhile") {
  const ScratchDirectory dir;
  write_rows(dir / "a", 60, 6);
  ClusteringOptions o;
  o.embeddings = {dir / "a"}, o.out = dir / "out", o.k = 4, o.iterations = 5;
  for (const char* shard : {"1/1", "merge"}) o.shard = Shard::parse(shard), silently([&] { return cluster(o); });
  const DirectoryLock merging(o.out + ".blocks");
  int states = 0;
  for (const auto& entry : std::filesystem::directory_iterator(o.out + ".blocks"))
    if (entry.path().string().ends_with("-state")) ++states, write_durably(entry.path().string(), "half a state");
  REQUIRE(states == 1);
  for (const char* shard : {"1/1", "merge", ""}) {
    o.shard = Shard::parse(shard);
    CHECK_THROWS_WITH_AS(cluster(o), doctest::Contains("in use by process"), Error);
  }
}

TEST_CASE("cluster: what cannot be is refused with the reason") {
  Setup s;
  const auto refused = [&](const std::string& why) {
    const std::string said = thrown([&] { cluster(s.options); });
    CHECK_MESSAGE(contains(said, why), said);
    CHECK(!path_exists(s.options.out));
  };
  s.options.k = 20001, refused("cluster.k is 20001, and the embeddings are 20000 rows");
  s.options.k = 60, s.options.cells = 61, refused("cluster.cells is 61, more than cluster.k 60");
  EmbeddingRows same;
  for (int i = 0; i < 30; ++i) same.values.insert(same.values.end(), {1.f, float(i % 3)}), same.ids.push_back(cat(i));
  same.write(s.dir / "same", 2, {});
  s.options.embeddings = {s.dir / "same", s.dir / "a"}, refused("all must come from one model");
  s.options.embeddings = {s.dir / "same"};
  for (const std::int64_t cells : {1, 2}) {
    s.options.k = 4, s.options.cells = cells, refused("the embeddings have only 3 different directions");
    s.options.k = 3;
    CHECK(cluster(s.options).at("objective").as_double() == 0);
    std::filesystem::remove(s.options.out);
  }
  // Twelve rows, each another in the last bit of one number: 48 bits of |c|²/2 do not tell centres on them apart.
  EmbeddingRows near;
  for (int i = 0; i < 12; ++i) {
    for (int c = 0; c < 64; ++c) {
      const float x = std::sin(1.7f * float(c)) / 6;
      near.values.push_back(i == c ? std::nextafter(x, 1.f) : x);
    }
    near.ids.push_back(cat(i));
  }
  near.write(s.dir / "near", 64, {});
  s.options.embeddings = {s.dir / "near"};
  for (const std::int64_t cells : {1, 2})
    s.options.k = 12, s.options.cells = cells, refused("different directions that f32 tells apart");
}

TEST_CASE("cluster: a region file's classes come from it in place of the names, and purity says how they agree") {
  Setup s;
  std::string lines;
  for (int i = 0; i < 40; ++i)
    lines += cat(R"({"image":"p.png","objects":[{"box":[0,0,2,2],"class":")", i % 2 ? "c" : "a",
                 R"("},{"box":[0,0,3,3],"class":")", i % 2 ? "d" : "b", R"("},{"box":[0,0,4,4],"class":"x"}],)",
                 R"("ocr":[{"box":[0,0,1,1],"text":"7"}]})", "\n");
  const std::string file = s.dir / "regions.jsonl";
  write_durably(file, lines);
  write_rows(s.dir / "regions", 80, 4, file);  // two of three objects, four clouds in turn, as the names are
  s.options.embeddings = {s.dir / "regions"}, s.options.k = 4, s.options.cells = 1, s.options.names = file;
  const Json report = cluster(s.options);
  CHECK(report.at("purity").as_double() == 1);
  CHECK(report.at("nmi").as_double() == doctest::Approx(1));
  const RegionFile named(file), clustered(file, s.options.out);
  CHECK(named.classes() == std::vector<std::string>{"a", "b", "c", "d", "x"});
  CHECK(clustered.classes() == std::vector<std::string>{"0", "1", "2", "3"});
  CHECK(clustered.characters() == named.characters());
  CHECK(clustered.fingerprint() != named.fingerprint());
  const std::vector<Json> rows = manifest(s.options.out);
  for (std::int64_t i = 0; i < 40; ++i) {
    const auto& regions = clustered.read(i).regions;
    REQUIRE(regions.size() == 3);  // the third object has no row and is left out
    for (std::size_t r = 0; r < 2; ++r) {
      CHECK(regions[r].label.object == rows[static_cast<std::size_t>(2 * i) + r].at("cluster").as_int());
      CHECK(regions[r].box.x2 == static_cast<double>(2 + r));
    }
    CHECK(regions[2].label.is_text());
  }
  s.options.k = 2;
  CHECK(cluster(s.options).at("purity").as_double() == doctest::Approx(0.5));  // two clouds in each

  CHECK(contains(thrown([&] { RegionFile(file, s.dir / "none"); }), "none"));
  write_durably(s.dir / "other.jsonl", lines);
  CHECK(contains(thrown([&] { RegionFile(s.dir / "other.jsonl", s.options.out); }), "it has no region of"));
  write_durably(file, lines.substr(0, lines.find('\n') + 1));
  CHECK(contains(thrown([&] { RegionFile(file, s.options.out); }), "record 1, region 0 is no object of"));
  CHECK(contains(thrown([&] { cluster(s.options); }), "is no object of"));
  s.options.embeddings = {s.dir / "b"}, s.options.names = file;
  CHECK(contains(thrown([&] { cluster(s.options); }), "b:0) is no object of"));
}
