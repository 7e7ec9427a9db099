// What becomes of runs and shards of which nothing is left: one rule for all commands (curate/share_counts.h).
#include <doctest/doctest.h>

#include <filesystem>

#include "base/io/file.h"
#include "curate/balance.h"
#include "curate/concepts.h"
#include "curate/dedup.h"
#include "curate/embeddings.h"
#include "curate/sources.h"
#include "image/encode.h"
#include "store/parquet/writer.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/cli/program.h"
#include "tests/data/pack_fixture.h"

using namespace ov;
using test::contains, test::thrown;
namespace fs = std::filesystem;

namespace {

// Sets of captioned pictures, of which those of `missing` are not there.
struct Sets {
  ScratchDirectory dir;
  std::string set(const std::string& name, int n, bool missing) {
    std::string lines;
    for (int i = 0; i < n; ++i) {
      Image image(16, 16);
      for (std::size_t b = 0; b < image.rgb.size(); ++b)
        image.rgb[b] = static_cast<std::uint8_t>((b * static_cast<std::size_t>(i * i + 3)) % 251);
      const std::string file = cat(name, i, ".png");
      if (!missing) write_durably(dir / file, encode_png(image));
      lines += Json::object({{"image", file}, {"caption", "c"}}).dump() + "\n";
    }
    write_durably(dir / (name + ".jsonl"), lines);
    return dir / (name + ".jsonl");
  }
  std::int64_t blocks(const std::string& out) const {
    std::int64_t n = 0;
    for (const auto& entry : fs::directory_iterator(out + ".blocks"))
      n += entry.path().filename().string().find('.') == std::string::npos;
    return n;
  }
};

}  // namespace

TEST_CASE(
    "refused: a shard that holds rejects alone ends with an error that names the first; the join keeps the rest") {
  Sets s;
  DedupOptions o;
  o.sources = {s.set("good", 6, false), s.set("gone", 5, true)};
  o.out = s.dir / "kept", o.distance = -1, o.max_rejects = 5;
  const auto shard = [&](const char* text) {
    o.shard = Shard::parse(text);
    return silently([&] { return thrown([&] { dedup(o); }); });
  };
  CHECK(shard("1/2") == "");
  for (int again = 0; again < 2; ++again) {  // the same whether its blocks were made now or before
    const std::string said = shard("2/2");
    CHECK_MESSAGE(contains(said, "dedup: shard 2/2 keeps nothing of its 5 records: image_missing 5, the first: "),
                  said);
    CHECK_MESSAGE(contains(said, "gone0.png"), said);
  }
  CHECK(shard("merge") == "");
  CHECK(Json::read(o.out + ".report.json").at("out").as_int() == 6);
  const std::string rejects = read_file(o.out + ".rejects.jsonl");
  CHECK(std::count(rejects.begin(), rejects.end(), '\n') == 5);
}

TEST_CASE("refused: a run that cannot end well any more stops behind a block, and its rejects are kept") {
  Sets s;
  DedupOptions o;
  o.sources = {s.set("gone", 9, true), s.set("more", 5, true), s.set("good", 4, false)};
  o.out = s.dir / "kept", o.max_rejects = 9;
  const auto run = [&](const char* text) {
    o.shard = Shard::parse(text);
    return silently([&] { return thrown([&] { dedup(o); }); });
  };
  CHECK(contains(run(""), "14 of 14 records rejected, and data.max_rejects is 9; image_missing 14, the first: "));
  CHECK(s.blocks(o.out) == 2);  // the third was not begun
  const std::string rejects = read_file(o.out + ".rejects.jsonl");
  CHECK(std::count(rejects.begin(), rejects.end(), '\n') == 14);
  const std::string shard = run("1/1");
  CHECK_MESSAGE(contains(shard, "dedup: shard 1/1 stops: 14 of its first 14 records rejected"), shard);
  CHECK(s.blocks(o.out) == 2);
  // Of fewer than nine in ten, all are read, so that the error says how many there are.
  o.sources = {s.set("some", 9, true), s.set("good2", 4, false), s.set("last", 5, true)};
  o.out = s.dir / "kept2", o.max_rejects = 8;
  fs::remove(o.sources[0]);
  write_durably(
      o.sources[0], "{\"image\": \"good20.png\", \"caption\": \"c\"}\n" + [] {
        std::string lines;
        for (int i = 0; i < 4; ++i) lines += "{\"image\": \"none.png\", \"caption\": \"c\"}\n";
        return lines;
      }());
  CHECK(contains(run(""), "9 of 14 records rejected"));
}

TEST_CASE("refused: nothing that is kept is an error that says why, and leaves no output") {
  Sets s;
  const std::string pool = s.set("pool", 4, false);
  DedupOptions o;
  o.sources = {pool}, o.against = {s.dir / "same.jsonl"}, o.out = s.dir / "kept";
  write_durably(o.against[0], read_file(pool));
  std::string said = silently([&] { return thrown([&] { dedup(o); }); });
  CHECK_MESSAGE(contains(said, "none of 4 records is kept: evaluation 4, the first: {\"id\":\"pool.jsonl:0\""), said);
  CHECK(!path_exists(o.out));

  ConceptOptions c;
  c.sources = {pool}, c.out = s.dir / "words", c.min_count = 100;
  said = thrown([&] { concepts(c); });
  CHECK_MESSAGE(contains(said, "no concept is left of 1 words and pairs in 4 captions: 1 stand in fewer"), said);
  CHECK(!path_exists(c.out));

  EmbeddingRows pictures;
  pictures.values = {1, 0, 1, 0}, pictures.ids = {"a", "b"}, pictures.records = {0, 1}, pictures.sources = {0, 0};
  pictures.write(s.dir / "pictures", 2, {{"sources", "[\"p\"]"}});
  EmbeddingRows words;
  words.values = {0, 1}, words.ids = {"w"};
  words.write(s.dir / "concepts", 2, {});
  BalanceOptions b;
  b.pictures = {s.dir / "pictures"}, b.concepts = s.dir / "concepts", b.out = s.dir / "drawn", b.k = 1, b.n = 1;
  b.floor = 0.5;
  said = silently([&] { return thrown([&] { balance(b); }); });
  CHECK_MESSAGE(contains(said, "none of 2 pictures is drawn: 2 have no concept that counts (2 pairs are below"), said);
  CHECK(!path_exists(b.out));
}

TEST_CASE("refused: pack stops early too, and names the first of each reason") {
  using namespace loader_test;
  const DataSet d;
  std::string lines;
  for (int i = 0; i < 2000; ++i)
    lines += i == 1 ? "{\"id\": 1,, }\n" : record(cat(i), "none.png", {"<image>q", "a"}).dump() + "\n";
  PackOptions o = pack_options(d, d.write("a.jsonl", lines));
  o.max_rejects = 3;
  const std::string said = message_of([&] { pack_data(o, small_processor()); });
  CHECK_MESSAGE(contains(said, "1024 of the first 1024 records rejected, more than data.max_rejects 3"), said);
  CHECK_MESSAGE(contains(said, "image_missing 1023, the first: "), said);
  CHECK_MESSAGE(contains(said, "malformed_record 1, the first: "), said);
  CHECK(reject_lines(o).size() == 1024);
  CHECK(!path_exists(o.out));
}

TEST_CASE("refused: where no set, or not every one, has a column of pictures the error names the columns that it has") {
  Sets s;
  const auto write = [&](const char* name, const char* pictures) {
    ParquetWriter writer(s.dir / name, {{"caption"}, {pictures}}, {});
    writer.add(Json::object({{"caption", "c"}, {pictures, "p.png"}}));
    writer.finish();
    return s.dir / name;
  };
  const std::string without = write("p.parquet", "picture"), with = write("q.parquet", "image");
  const auto says = [&](const std::vector<std::string>& sets, bool every) {
    return thrown([&] { RecordPool(sets, "", 8).require_pictures(every); });
  };
  const std::string expected = without +
                               ": expected a column image or images, found caption text, picture text; "
                               "these names are fixed, no key chooses others: rename the column of the pictures";
  CHECK(says({without}, true) == expected);
  CHECK(says({without}, false) == expected);
  CHECK(says({without, with}, true) == expected);
  CHECK(says({without, with}, false) == "");
}
