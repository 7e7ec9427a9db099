#include "data/raw/drawn_records.h"

#include <doctest/doctest.h>

#include "base/error.h"
#include "base/io/file.h"
#include "store/parquet/writer.h"
#include "tests/base/scratch.h"
#include "tests/data/pack_fixture.h"

using namespace ov;
using namespace ov::loader_test;

namespace {

struct Row {
  std::string source;
  std::int64_t record, draws;
};

void write_manifest(const std::string& path, const std::vector<Row>& rows,
                    const std::vector<std::pair<std::string, std::string>>& sources = {}) {
  using Kind = ParquetField::Kind;
  ParquetWriter out(path, {{"source"}, {"record", Kind::integer}, {"draws", Kind::integer}},
                    {.group_rows = 2, .metadata = drawn_from(sources)});
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
  ParquetWriter clusters(manifest, {{"source"}, {"cluster", ParquetField::Kind::integer}});
  clusters.add(Json::object({{"source", data}, {"cluster", 1}}));
  clusters.finish();
  CHECK_THROWS_WITH_AS(drawn(), doctest::Contains("m.parquet: has no column record; expected a manifest"), Error);
}

TEST_CASE("a manifest knows the content that it was drawn from, and says so when that is another now") {
  const ScratchDirectory dir;
  const std::string data = dir / "a.jsonl", manifest = dir / "m.parquet";
  const auto lines = [](std::vector<int> order) {
    std::string all;
    for (const int i : order) all += Json::object({{"image", "x"}, {"caption", cat("c", i)}}).dump() + "\n";
    return all;
  };
  write_durably(data, lines({0, 1, 2}));
  write_manifest(manifest, {{data, 1, 1}}, {{"another", "f"}, {data, open_records(data)->fingerprint()}});
  CHECK(drawn_records(open_records(data), manifest)->size() == 1);
  write_durably(data, lines({2, 1, 0}));
  CHECK_THROWS_WITH_AS(drawn_records(open_records(data), manifest), doctest::Contains("a.jsonl: has changed since"),
                       Error);
  write_manifest(manifest, {{data, 1, 1}}, {{"another", "f"}});  // of others' tools: nothing is known
  CHECK(drawn_records(open_records(data), manifest)->size() == 1);
}

TEST_CASE("a manifest in place of a copy: a run trains on what it draws, read or packed, as on a file of just that") {
  const DataSet d;
  const std::string data = d.ten(), manifest = d.path("m.parquet");
  write_manifest(manifest, {{data, 8, 1}, {data, 0, 0}, {data, 3, 2}, {data, 5, 1}});
  const Json all = Json::read(data);
  std::vector<Json> chosen;
  for (const std::size_t i : {8, 3, 3, 5}) chosen.push_back(all[i]);
  const std::string copy = d.json(chosen, "copy.json");

  const auto steps = [&](const std::string& json, const std::string& drawn_by) {
    LoaderOptions o;
    o.json = json, o.manifest = drawn_by, o.samples_per_micro_batch = 2, o.micro_batches_per_step = 2;
    Loader loader(o, small_processor());
    std::vector<GlobalStep> out;
    for (int i = 0; i < 3; ++i) out.push_back(loader.next());
    return out;
  };
  const auto drawn = steps(data, manifest), copied = steps(copy, "");
  REQUIRE(drawn.size() == copied.size());
  for (std::size_t i = 0; i < drawn.size(); ++i) CHECK(same(drawn[i], copied[i]));

  const auto packed = [&](const std::string& json, const std::string& drawn_by) {
    PackOptions o = pack_options(d, json);
    o.out = d.path(drawn_by.empty() ? "copied.packs" : "drawn.packs"), o.sources[0].manifest = drawn_by;
    pack_data(o, small_processor());
    PackedLoaderOptions loaded;
    loaded.index = o.out;
    return loaded;
  };
  const PackedLoaderOptions of_drawn = packed(data, manifest), of_copied = packed(copy, "");
  PackedLoader a(of_drawn, small_processor()), b(of_copied, small_processor());
  REQUIRE(a.index().samples() == 4);
  for (int i = 0; i < 3; ++i) CHECK(same(a.next(), b.next()));

  // A resumed run, and an index, know that something else is drawn now; a mixture is no set to draw from.
  LoaderOptions o;
  o.json = data, o.manifest = manifest;
  const Json state = Loader(o, small_processor()).state();
  write_manifest(manifest, {{data, 8, 1}, {data, 3, 2}, {data, 6, 1}});
  CHECK_THROWS_WITH_AS(Loader(o, small_processor()).restore(state), doctest::Contains(data.c_str()), Error);
  CHECK_THROWS_WITH_AS(PackedLoader(of_drawn, small_processor()), doctest::Contains("pack again"), Error);
  o.json = d.write("mix.yaml",
                   "__class__: MetadatasetV2\nsplits:\n  train:\n    blend:\n      - {path: data.json, weight: 1}\n");
  CHECK_THROWS_WITH_AS(Loader(o, small_processor()), doctest::Contains("is a mixture"), Error);
}
