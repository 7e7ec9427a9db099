// data_curation.md 9, acceptance 1, 2, 5 and 7, on files: the commands' libraries from end to end.
#include "curate/balance.h"

#include <doctest/doctest.h>
#include <malloc.h>

#include <algorithm>
#include <cmath>

#include "base/io/file.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "curate/concepts.h"
#include "curate/embeddings.h"
#include "data/raw/drawn_records.h"
#include "store/parquet/writer.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/curate/manifest.h"

using namespace ov;
using test::contains, test::manifest, test::thrown;

namespace {

constexpr std::int64_t width = 16;

void write_rows(const std::string& path, const std::string& name, std::int64_t n, std::int64_t first = 0) {
  const Philox random(3, name.substr(0, 1));
  EmbeddingRows rows;
  for (std::int64_t i = first; i < first + n; ++i) {
    for (std::int64_t c = 0; c < width; ++c)
      rows.values.push_back(random.normal(static_cast<std::uint64_t>(i * width + c)) + (c == 0 ? 1.5f : 0));
    rows.ids.push_back(cat(name, ":", i));
    rows.records.push_back(i), rows.sources.push_back(0);
  }
  rows.write(path, width, {{"made_from", cat(name, first)}, {"sources", "[\"pool\"]"}});
}

struct Setup {
  ScratchDirectory dir;
  BalanceOptions options;
  Setup() {
    write_rows(dir / "a", "pictures", 17000);
    write_rows(dir / "b", "pictures", 3000, 17000);
    write_rows(dir / "v", "vocabulary", 300);
    options.pictures = {dir / "a", dir / "b"};
    options.concepts = dir / "v";
    options.k = 3, options.n = 2000;
    options.out = dir / "manifest";
  }
  std::string made(const Shard& shard = {}) {
    options.shard = shard;
    balance(options);
    return path_exists(options.out) ? read_file(options.out) + read_file(options.out + ".report.json") : "";
  }
};

}  // namespace

TEST_CASE("shards: counts that cannot be stepped by are refused; what others put beside blocks stays") {
  for (const char* text : {"0/3", "3/2", "0/0", "1/1000001", "2/9223372036854775807", "1/", "a/b", "-1/2"})
    CHECK(contains(thrown([&] { Shard::parse(text); }), "shard: expected i/n"));
  const ScratchDirectory dir;
  const auto make = [](const Blocks& made) {
    return made.make({}, "test", [&](std::int64_t b) { write_durably(made.path(b), "x"); });
  };
  make(Blocks(dir / "out", "other inputs", 2));
  const Blocks blocks(dir / "out/", "inputs", 2, 0, {".side"}), others(dir / "out", "other inputs", 2);
  make(blocks);
  write_durably(dir / "out.blocks/mine", "mine"), write_durably(blocks.path(1) + ".side", "x");
  blocks.remove();
  CHECK(!path_exists(blocks.path(0)));
  CHECK(!path_exists(blocks.path(1) + ".side"));
  CHECK(path_exists(others.path(1)));
  others.remove();
  CHECK(read_file(dir / "out.blocks/mine") == "mine");
  std::filesystem::remove(dir / "out.blocks/mine");
  make(blocks), blocks.remove();
  CHECK(!path_exists(dir / "out.blocks"));
}

TEST_CASE(
    "shards: a run that joins is alone with its blocks, shards are there together, and no two make the same one") {
  const ScratchDirectory dir;
  const auto blocks = [&] { return std::make_unique<const Blocks>(dir / "out", "inputs", 4); };
  std::unique_ptr<const Blocks> one, two;
  // `second` starts while `first` makes its first block; what it says.
  const auto during = [&](const char* first, const char* second) {
    std::string said;
    bool started = false;
    one = blocks(), two = blocks();
    one->make(Shard::parse(first), "test", [&](std::int64_t b) {
      if (!started) {
        started = true;
        said = thrown([&] {
          two->make(Shard::parse(second), "test", [&](std::int64_t also) { write_durably(two->path(also), "two"); });
        });
      }
      write_durably(one->path(b), "one");
    });
    return said;
  };
  for (const auto& pair :
       {std::pair{"", ""}, {"", "1/2"}, {"1/2", ""}, {"1/2", "merge"}, {"1/2", "1/2"}, {"2/4", "1/1"}}) {
    CAPTURE(pair.first);
    CAPTURE(pair.second);
    std::filesystem::remove_all(dir / "out.blocks");
    CHECK(contains(during(pair.first, pair.second), cat("out.blocks: in use by process ", ::getpid())));
  }
  std::filesystem::remove_all(dir / "out.blocks");
  CHECK(during("1/2", "2/2") == "");
  for (std::int64_t b = 0; b < 4; ++b) CHECK(read_file(one->path(b)) == (b % 2 ? "two" : "one"));
  CHECK(one->make({}, "test", [](std::int64_t) { FAIL("all blocks were made"); }));
  // What else the same run does there is under the same lock, until the run has ended.
  const Blocks more(*one, "others", 1);
  CHECK(more.make({}, "test", [&](std::int64_t b) { write_durably(more.path(b), "more"); }));
  more.remove_blocks();
  CHECK(contains(thrown([&] { two->make({}, "test", [](std::int64_t) {}); }), "in use by process"));
  one->remove();
  CHECK(!path_exists(dir / "out.blocks"));
}

TEST_CASE("shards: what a killed run holds, others may have") {
  const ScratchDirectory dir;
  CHECK(in_child([&] {
          const Blocks killed(dir / "out", "inputs", 2);
          killed.make({}, "test", [](std::int64_t) { ::_exit(9); });
        }) == 9);
  const Blocks blocks(dir / "out", "inputs", 2);
  CHECK(blocks.make({}, "test", [&](std::int64_t b) { write_durably(blocks.path(b), "x"); }));
}

TEST_CASE("balance: directions of two models, words for pictures, and more than there are to draw") {
  Setup s;
  const auto rewritten = [&](const std::string& name, const std::string& kind, const std::string& model) {
    const Safetensors file = Safetensors::open(s.dir / name);
    std::vector<NamedTensor> tensors;
    for (const auto& e : file.entries()) tensors.push_back({e.name, file.tensor(e.name)});
    Metadata metadata = file.metadata();
    metadata["kind"] = kind, metadata["model"] = model;
    write_safetensors(s.dir / "new", std::move(tensors), metadata);
    std::filesystem::rename(s.dir / "new", s.dir / name);
  };
  rewritten("a", "pictures", "one"), rewritten("v", "concepts", "two");
  const std::string two = thrown([&] { s.made(); });
  CHECK_MESSAGE(contains(two, "a: was made by another CLIP than "), two);
  rewritten("v", "concepts", "one");
  CHECK(s.made() != "");
  std::swap(s.options.pictures[0], s.options.concepts);
  const std::string swapped = thrown([&] { s.made(); });
  CHECK_MESSAGE(contains(swapped, "v: holds concepts, and balance.pictures wants pictures"), swapped);
  s.options.pictures = {s.dir / "b"}, s.options.concepts = s.dir / "a";
  const std::string pictures = thrown([&] { s.made(); });
  CHECK_MESSAGE(contains(pictures, "a: holds pictures, and balance.concepts wants concepts"), pictures);
  s.options.concepts = s.dir / "v", s.options.n = 3001, s.options.draw = BalanceOptions::Draw::exact;
  const std::string more = thrown([&] { s.made(); });
  CHECK_MESSAGE(contains(more, "balance.n is 3001, and balance.draw exact can draw 3000 of 3000 pictures"), more);
  s.options.n = 3000;
  CHECK(s.made() != "");
}

TEST_CASE("acceptance 1, 2: a manifest says of every picture what it weighs, and how it was drawn") {
  Setup s;
  s.options.min_count = 2;
  const Json report = balance(s.options);
  const std::vector<Json> rows = manifest(s.options.out);
  REQUIRE(rows.size() == 20000);
  CHECK(report.at("in").as_int() == 20000);
  CHECK(std::abs(static_cast<double>(report.at("out").as_int() - 2000)) <= 4 * std::sqrt(2000.0));
  CHECK(report.at("weights_sum").as_double() ==
        doctest::Approx(report.at("pool").at("covered_concepts").as_double()).epsilon(1e-9));
  CHECK(report.at("drawn").at("gini").as_double() < report.at("pool").at("gini").as_double());
  std::int64_t drawn = 0, wrong = 0;
  double expected = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Json& r = rows[i];
    wrong += r.at("id").as_string() != cat("pictures:", i) || r.at("record").as_int() != static_cast<std::int64_t>(i);
    wrong += (r.at("draws").as_int() == 1) != (r.at("u").as_double() < r.at("probability").as_double());
    wrong += r.at("scores")[0].as_double() < r.at("scores")[2].as_double();
    drawn += r.at("draws").as_int(), expected += r.at("probability").as_double();
  }
  CHECK(wrong == 0);
  CHECK(drawn == report.at("out").as_int());
  CHECK(expected == doctest::Approx(2000));
  CHECK(!path_exists(s.options.out + ".blocks"));
  s.options.whole_pool = false;
  balance(s.options);
  CHECK(manifest(s.options.out).size() == static_cast<std::size_t>(drawn));
}

TEST_CASE("balance: ten times the pictures need no more memory, however they are drawn") {
  Setup s;
  static std::size_t most;
  const auto heap = [] { return static_cast<std::size_t>(mallinfo2().uordblks + mallinfo2().hblkhd); };
  const auto peak = [&](std::int64_t pictures, BalanceOptions::Draw draw) {
    write_rows(s.dir / "pool", "pictures", pictures);
    s.options.pictures = {s.dir / "pool"}, s.options.draw = draw, s.options.out = s.dir / cat("m", pictures);
    s.options.n = 100;
    const std::size_t before = heap();
    most = before;
    set_file_step_hook([](const char*, const std::string&, bool) {
      most = std::max<std::size_t>(most, mallinfo2().uordblks + mallinfo2().hblkhd);
    });
    balance(s.options);
    set_file_step_hook(nullptr);
    return static_cast<double>(most - before);
  };
  set_threads(1);
  using Draw = BalanceOptions::Draw;
  for (const auto draw : {Draw::poisson, Draw::exact, Draw::replacement}) {
    const double small = peak(2 * EmbeddingPool::part_rows, draw), large = peak(20 * EmbeddingPool::part_rows, draw);
    CHECK(small > 0);
    CHECK(large - small < 4.0 * 18 * static_cast<double>(EmbeddingPool::part_rows));  // 4 bytes a picture
  }
  set_threads(2);
}

TEST_CASE("acceptance 7: shards, threads and kills never change the manifest") {
  Setup s;
  const std::string whole = s.made();
  CHECK(whole != "");
  for (const int n : {1, 2, 5}) {
    s.options.out = s.dir / cat("manifest", n);
    set_threads(n);
    for (int i = n; i > 1; --i) CHECK(s.made(Shard::parse(cat(i, "/", n))) == "");
    CHECK_THROWS_WITH_AS(s.made(Shard::parse("merge")), doctest::Contains("blocks are missing"), Error);
    s.made(Shard::parse(cat("1/", n)));
    CHECK(s.made(Shard::parse("merge")) == whole);
  }
  set_threads(2);
  // Cut off behind a block: the second run makes the other one alone.
  s.options.out = s.dir / "cut";
  s.made(Shard::parse("1/2"));
  CHECK(s.made() == whole);
  // Blocks of other inputs are no part of it.
  s.options.out = s.dir / "other";
  s.options.k = 2;
  s.made(Shard::parse("1/1"));
  s.options.k = 3;
  CHECK_THROWS_WITH_AS(s.made(Shard::parse("merge")), doctest::Contains("blocks are missing"), Error);
  CHECK(s.made() == whole);
}

TEST_CASE("balance: of what a manifest leaves out nothing is drawn, and its concepts do not count") {
  Setup s;
  s.options.pictures = {s.dir / "b"}, s.options.n = 200, s.options.draw = BalanceOptions::Draw::exact;
  // Every third picture is kept by the manifest; one of another set takes no part.
  ParquetWriter kept(s.dir / "kept",
                     {{"source"}, {"record", ParquetField::Kind::integer}, {"draws", ParquetField::Kind::integer}});
  for (std::int64_t record = 17000; record < 20000; ++record)
    kept.add(Json::object({{"source", "pool"}, {"record", record}, {"draws", std::int64_t{record % 3 == 0}}}));
  kept.add(Json::object({{"source", "other"}, {"record", std::int64_t{17001}}, {"draws", std::int64_t{1}}}));
  kept.finish();
  s.options.within = s.dir / "kept";
  const Json report = balance(s.options);
  CHECK(report.at("in").as_int() == 3000);
  CHECK(report.at("left_out").as_int() == 2000);
  CHECK(report.at("out").as_int() == 200);
  const std::vector<Json> rows = manifest(s.options.out);
  CHECK(rows.size() == 1000);
  for (const Json& r : rows) CHECK(r.at("record").as_int() % 3 == 0);
  // As if there were no others: the same weights and draws.
  EmbeddingRows third;
  const Embeddings all = Embeddings::open(s.dir / "b");
  for (std::int64_t i = 0; i < all.size(); ++i) {
    if (all.record(i) % 3) continue;
    const Tensor row = all.directions(i, i + 1);
    third.values.insert(third.values.end(), row.data<float>(), row.data<float>() + width);
    third.ids.push_back(all.id(i)), third.records.push_back(all.record(i)), third.sources.push_back(0);
  }
  third.write(s.dir / "third", width, {{"made_from", "third"}, {"sources", "[\"pool\"]"}});
  for (const auto draw :
       {BalanceOptions::Draw::exact, BalanceOptions::Draw::poisson, BalanceOptions::Draw::replacement}) {
    s.options.draw = draw, s.options.floor_quantile = 0.2;
    s.options.pictures = {s.dir / "b"}, s.options.within = s.dir / "kept", s.made();
    const std::string within = read_file(s.options.out);
    s.options.pictures = {s.dir / "third"}, s.options.within = "", s.made();
    CHECK(read_file(s.options.out) == within);
  }
  s.options.within = s.dir / "v";
  CHECK(contains(thrown([&] { balance(s.options); }), "draw it again (onevision dedup or balance)"));
  write_rows(s.dir / "c", "pictures", 20, 90000);
  s.options.pictures = {s.dir / "c"}, s.options.within = s.dir / "kept", s.options.n = 1;
  CHECK(contains(thrown([&] { balance(s.options); }), "kept: draws none of the pictures that are embedded"));
}

TEST_CASE("balance: each hazard has its key, and the report counts what it did") {
  Setup s;
  s.options.pictures = {s.dir / "b"}, s.options.n = 300;
  const Json plain = balance(s.options);
  CHECK(plain.at("pairs_below_floor").as_int() == 0);
  s.options.floor_quantile = 0.25;
  const Json floor = balance(s.options);
  CHECK(floor.at("pairs_below_floor").as_int() == doctest::Approx(0.25 * 3 * 3000).epsilon(0.001));
  std::int64_t none = 0, wrong = 0;
  for (const Json& r : manifest(s.options.out)) {
    const bool below = r.at("scores")[0].as_double() < floor.at("floor").as_double();
    none += below;
    wrong += (r.at("reason").as_string() == "no_concept") != below || (below && r.at("draws").as_int() != 0);
  }
  CHECK(wrong == 0);
  CHECK(floor.at("no_concept").as_int() == none);
  s.options.floor_quantile = 0, s.options.min_count = 15;
  const Json rare = balance(s.options);
  CHECK(rare.at("rare_concepts").as_int() > 0);
  CHECK(rare.at("weights_sum").as_double() ==
        doctest::Approx(plain.at("pool").at("covered_concepts").as_double() - rare.at("rare_concepts").as_double()));
  s.options.min_count = 1, s.options.cap = 0.01;
  const Json capped = balance(s.options);
  CHECK(capped.at("capped_weights").as_int() > 0);
  CHECK(capped.at("weights_sum").as_double() < plain.at("weights_sum").as_double());
  s.options.cap = 0, s.options.draw = BalanceOptions::Draw::exact;
  CHECK(balance(s.options).at("out").as_int() == 300);
  s.options.draw = BalanceOptions::Draw::replacement;
  const Json again = balance(s.options);
  CHECK(again.at("draws").as_int() == 300);
  CHECK(again.at("out").as_int() < 300);
  const std::string manifest = read_file(s.options.out);
  s.options.n = 3'000'000'000'000;
  CHECK(contains(thrown([&] { balance(s.options); }), "with balance.draw replacement at most 4294967296 draws"));
  // More than a reader of manifests takes (data/raw/drawn_records.h).
  s.options.pictures = {s.dir / "one"}, s.options.n = most_draws + 1;
  EmbeddingRows one;
  one.values.assign(width, 1), one.ids = {"one"};
  one.write(s.dir / "one", width, {});
  CHECK(contains(thrown([&] { balance(s.options); }), "one would be drawn 1048577 times, at most 1048576"));
  CHECK(read_file(s.options.out) == manifest);
}

TEST_CASE("balance: what it cannot use is named") {
  Setup s;
  s.options.pictures = {s.dir / "a", s.dir / "a"};
  CHECK_THROWS_WITH_AS(balance(s.options), doctest::Contains("stands twice in the pool"), Error);
  s.options.k = 301;
  CHECK_THROWS_WITH_AS(balance(s.options), doctest::Contains("holds 300 concepts"), Error);
  EmbeddingRows bad;
  bad.values.assign(2 * width, 1), bad.ids = {"good", "bad"};
  bad.values.back() = std::nanf("");
  bad.write(s.dir / "nan", width, {});
  s.options.pictures = {s.dir / "nan"}, s.options.k = 3;
  CHECK_THROWS_WITH_AS(balance(s.options), doctest::Contains("row 1 (bad)"), Error);
  bad.values.resize(8), bad.ids = {"x", "y"};
  bad.write(s.dir / "narrow", 4, {});
  s.options.pictures = {s.dir / "narrow"};
  CHECK_THROWS_WITH_AS(balance(s.options), doctest::Contains("4 wide"), Error);
  for (const char* text : {"0/2", "3/2", "x", "1/", "1/2/3", "-1/2", "1"})
    CHECK_THROWS_WITH_AS(Shard::parse(text), doctest::Contains("shard"), Error);
}

TEST_CASE("concepts: learnt and given, counted once a caption; shards never change them") {
  const ScratchDirectory dir;
  CHECK(concept_words("A Red\tCUBE, 红色 ok!") ==
        std::vector<std::string>{"a", "red", "cube", ",", "红", "色", "ok", "!"});
  std::string lines;
  const char* captions[] = {"A red cube, red.", "a Red cube on sand", "sand castle", "white sand", "红色的球"};
  for (const char* c : captions) lines += Json::object({{"image", "x.png"}, {"caption", c}}).dump() + "\n";
  write_durably(dir / "data.jsonl", lines + "{\"image\": \"x.png\", \"caption\": \"\"}\n");
  ConceptOptions o;
  o.sources = {dir / "data.jsonl"}, o.out = dir / "learnt.jsonl", o.min_pmi = 0.5, o.max_rejects = 1;
  const auto made = [&](const std::string& shard) {
    o.shard = Shard::parse(shard);
    return concepts(o);
  };
  const Json report = made("");
  CHECK(report.at("in").as_int() == 6);
  CHECK(report.at("captions").as_int() == 5);
  const std::string learnt = read_file(o.out);
  CHECK(learnt.starts_with("{\"concept\":\"sand\",\"captions\":3}\n"));
  CHECK(learnt.find("{\"concept\":\"red cube\",\"captions\":2}") != learnt.npos);
  CHECK(learnt.find("castle") == learnt.npos);  // one caption alone
  o.out = dir / "sharded.jsonl";
  made("2/2"), made("1/2"), made("merge");
  CHECK(read_file(o.out) == learnt);
  write_durably(dir / "list.txt", "Red Cube\nball\n红色\n");
  o.list = dir / "list.txt", o.out = dir / "given.jsonl";
  CHECK(made("").at("without_caption").as_int() == 1);
  CHECK(read_file(o.out) ==
        "{\"concept\":\"Red Cube\",\"captions\":2}\n{\"concept\":\"ball\",\"captions\":0}\n"
        "{\"concept\":\"红色\",\"captions\":1}\n");
  // What the command wrote is read again, whatever it was called.
  std::filesystem::copy_file(o.out, dir / "written.txt");
  CHECK(read_concepts(dir / "written.txt").size() == 3);
  CHECK(read_concepts(dir / "written.txt")[0].text == "Red Cube");
  CHECK(read_concepts(dir / "written.txt")[0].captions == 2);
  write_durably(dir / "list.txt", R"(["ball"])");
  CHECK_THROWS_WITH_AS(made(""), doctest::Contains("looks like JSON text"), Error);
  write_safetensors(dir / "list.txt", {{"x", Tensor::of(std::vector<float>{1}, {1})}});
  CHECK_THROWS_WITH_AS(made(""), doctest::Contains("list.txt: looks like a safetensors file; expected a concept"),
                       Error);
  write_durably(dir / "list.txt", "ball\n\xff\n");
  CHECK_THROWS_WITH_AS(made(""), doctest::Contains("list.txt: is no text in UTF-8"), Error);
  write_durably(dir / "list.txt", "BMW\n");
  CHECK(made("").at("out").as_int() == 1);
  write_durably(dir / "list.txt", "ball\nball\n");
  CHECK_THROWS_WITH_AS(made(""), doctest::Contains("list.txt:2: the concept ball stands twice"), Error);
  o.list = "", o.max_rejects = 0;
  CHECK_THROWS_WITH_AS(made(""), doctest::Contains("1 of 6 records rejected"), Error);
}
