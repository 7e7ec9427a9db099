// Embeddings as files, and which rows of them are near to each other.
#include "curate/near_rows.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using test::contains, test::thrown;

namespace {

// Directions of the plane, by their angles.
EmbeddingRows of_angles(const std::vector<double>& angles) {
  EmbeddingRows rows;
  for (const double a : angles) {
    rows.values.push_back(static_cast<float>(std::cos(a))), rows.values.push_back(static_cast<float>(std::sin(a)));
    rows.ids.push_back(cat("row ", rows.ids.size()));
  }
  return rows;
}

// The pairs that are found of rows of one file, each record its row.
std::set<std::pair<std::int64_t, std::int64_t>> pairs(const std::string& file, const NearLimits& limits) {
  EmbeddedRecords rows{EmbeddingPool({file}), {}};
  rows.record.resize(static_cast<std::size_t>(rows.pool.size));
  std::iota(rows.record.begin(), rows.record.end(), 0);
  const Edges edges = near_rows(rows, 0, limits, [](std::int64_t) { return true; });
  std::set<std::pair<std::int64_t, std::int64_t>> all;
  for (std::size_t i = 0; i < edges.size(); i += 2) all.insert(std::minmax(edges[i], edges[i + 1]));
  return all;
}

// How many groups pairs leave of n records.
std::size_t groups(std::int64_t n, const std::set<std::pair<std::int64_t, std::int64_t>>& edges) {
  std::vector<std::int64_t> group(static_cast<std::size_t>(n));
  std::iota(group.begin(), group.end(), 0);
  for (const auto& [a, b] : edges) {
    const std::int64_t from = group[static_cast<std::size_t>(b)], to = group[static_cast<std::size_t>(a)];
    std::replace(group.begin(), group.end(), from, to);
  }
  return std::set<std::int64_t>(group.begin(), group.end()).size();
}

}  // namespace

TEST_CASE("near rows: pairs of the data have one limit, those towards an evaluation another, evaluations none") {
  const ScratchDirectory dir;
  const double apart = std::acos(0.97);
  of_angles({0, apart, 1.5, 1.5 + apart, 3, 3 + apart}).write(dir / "rows", 2, {{"made_from", "a"}});
  // Records 0 to 2 are data, 3 to 5 an evaluation's: one pair within, one across, one among evaluations.
  using Pairs = std::set<std::pair<std::int64_t, std::int64_t>>;
  CHECK(pairs(dir / "rows", {.data = 3, .cosine = 0.96, .against_cosine = 0.98}) == Pairs{{0, 1}});
  CHECK(pairs(dir / "rows", {.data = 3, .cosine = 0.98, .against_cosine = 0.96}) == Pairs{{2, 3}});
  CHECK(pairs(dir / "rows", {.data = 3, .cosine = 0.96, .against_cosine = 0.96}) == Pairs{{0, 1}, {2, 3}});
  CHECK(pairs(dir / "rows", {.data = 6, .cosine = 0.96, .against_cosine = 1}) == Pairs{{0, 1}, {2, 3}, {4, 5}});
}

TEST_CASE("near rows: a row with more neighbours than the first list holds finds those behind them") {
  const ScratchDirectory dir;
  // Two bundles of forty, each nearer to itself than to the other, which is near enough.
  std::vector<double> angles;
  for (int i = 0; i < 80; ++i) angles.push_back((i < 40 ? 0 : std::acos(0.97)) + 1e-5 * i);
  of_angles(angles).write(dir / "rows", 2, {{"made_from", "a"}});
  CHECK(groups(80, pairs(dir / "rows", {.data = 80, .cosine = 0.96, .against_cosine = 1})) == 1);
  CHECK(groups(80, pairs(dir / "rows", {.data = 80, .cosine = 0.98, .against_cosine = 1})) == 2);
}

TEST_CASE("embeddings: joined files have the ids of both, and what is no direction or no file of ids is named") {
  const ScratchDirectory dir;
  EmbeddingRows first = of_angles({0, 1}), second = of_angles({2, 3, 4});
  first.ids = {"a", "bcd"}, second.ids = {"", "ef", "g"};
  first.write(dir / "1", 2, {}), second.write(dir / "2", 2, {});
  join_embeddings(dir / "both", {dir / "1", dir / "2"}, 2, {{"made_from", "x"}});
  const Embeddings both = Embeddings::open(dir / "both");
  REQUIRE(both.size() == 5);
  const char* ids[] = {"a", "bcd", "", "ef", "g"};
  for (std::int64_t i = 0; i < 5; ++i) CHECK(both.id(i) == ids[i]);
  CHECK(both.directions(4, 5).data<float>()[0] == doctest::Approx(std::cos(4)));

  EmbeddingRows endless = of_angles({0, 1});
  endless.values[3] = std::numeric_limits<float>::infinity();
  endless.write(dir / "endless", 2, {});
  CHECK(contains(thrown([&] { Embeddings::open(dir / "endless").directions(0, 2); }), "row 1 (row 1) has length inf"));

  write_safetensors(dir / "ends", {{"embeddings", Tensor::of(std::vector<float>{1, 0, 0, 1}, {2, 2})},
                                   {"id_text", Tensor::of(std::vector<std::uint8_t>{'a', 'b'}, {2})},
                                   {"id_ends", Tensor::of(std::vector<std::int64_t>{2, 1}, {2})}});
  CHECK(contains(thrown([&] { Embeddings::open(dir / "ends"); }), "id_ends of row 1 is 1, expected 2 to 2"));
}

TEST_CASE("embeddings: two files of two versions of one set are no pool to draw from") {
  const ScratchDirectory dir;
  for (const char* version : {"1", "2"}) {
    EmbeddingRows rows = of_angles({0, 1});
    rows.records = {0, 1}, rows.sources = {0, 0};
    rows.write(dir / version, 2,
               {{"made_from", version}, {"sources", "[\"set\"]"}, {"fingerprints", cat("[\"", version, "\"]")}});
  }
  CHECK(contains(thrown([&] {
                   EmbeddingPool({dir / "1", dir / "2"}).sources();
                 }),
                 "2: was made of another set than the files before it"));
  CHECK(EmbeddingPool({dir / "1", dir / "1"}).sources().size() == 1);
}
