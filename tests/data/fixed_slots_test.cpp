// Position p of epoch e belongs to its record whatever becomes of it, so that micro_batch(step, m) is a function of its
// arguments: of samples, of packs and of pictures with regions.
#include <doctest/doctest.h>

#include "data/load/region_loader.h"
#include "tests/data/pack_fixture.h"
#include "tests/train/training_run.h"

namespace ov::loader_test {
namespace {

using namespace ov::test;

LoaderOptions two_by_two(const std::string& json) {
  LoaderOptions o;
  o.json = json;
  o.samples_per_micro_batch = o.micro_batches_per_step = 2;
  o.seed = 5;
  return o;
}

// What of a micro-batch belongs to each of its samples, and its pictures; "" for one without tokens.
std::vector<std::string> by_sample(const MicroBatch& b) {
  std::vector<std::string> out(static_cast<std::size_t>(b.samples));
  for (std::size_t i = 0; i < b.segments.size(); ++i) {
    const TokenSegment& s = b.segments[i];
    std::string& text = out[static_cast<std::size_t>(b.sample_of_segment[i])];
    for (auto t = static_cast<std::size_t>(s.begin); t < static_cast<std::size_t>(s.begin + s.length); ++t)
      text += cat(b.input_ids[t], "/", b.labels[t], "@", b.positions[t], " ");
  }
  return out;
}

// The micro-batches of `steps` steps, made by `ranks` processes that each make their own alone, the last step first.
template <class L, class Batch, class Options>
std::vector<Batch> by_ranks(const Options& options, std::int64_t steps, std::int64_t micro_batches,
                            std::int64_t ranks) {
  std::vector<Batch> out(static_cast<std::size_t>(steps * micro_batches));
  for (std::int64_t r = 0; r < ranks; ++r) {
    L loader(options, small_processor());
    for (std::int64_t s = steps; s-- > 0;)
      for (std::int64_t m = r; m < micro_batches; m += ranks)
        out[static_cast<std::size_t>(s * micro_batches + m)] = loader.micro_batch(s, m).batch;
  }
  return out;
}

template <class L, class Options>
void check_ranks(const Options& options, std::int64_t micro_batches) {
  constexpr std::int64_t steps = 6;
  const auto alone = by_ranks<L, MicroBatch>(options, steps, micro_batches, 4);
  L whole(options, small_processor());
  for (std::int64_t s = 0; s < steps; ++s) {
    const GlobalStep step = whole.next();
    for (std::int64_t m = 0; m < micro_batches; ++m) {
      const MicroBatch& b = step.micro_batches[static_cast<std::size_t>(m)];
      CHECK(same(b, alone[static_cast<std::size_t>(s * micro_batches + m)]));
      const MicroBatchPlan plan = whole.plan(s, m);
      CHECK(plan.samples == b.samples);
      if (plan.tokens > 0 && whole.rejects().total() == 0) {
        CHECK(plan.tokens == b.tokens());
        CHECK(plan.labels == count_labels(b));
      }
    }
  }
  CHECK(!same(alone[0], alone[1]));  // the comparison can fail
}

std::vector<Json> json_lines(const std::string& path) {
  std::vector<Json> out;
  JsonlReader reader(path);
  for (Json line; reader.next(&line);) out.push_back(line);
  return out;
}

std::string region_line(const std::string& image, int n) {
  return cat("{\"image\": \"", image, "\", \"objects\": [{\"box\": [0, 0, ", 20 + n,
             ", 20], \"class\": \"dot\"}, {\"box\": [1, 1, 9, 9], \"class\": \"ring\"}], \"ocr\": [{\"box\": [0, 0, 9, "
             "9], \"text\": \"ABC\"}]}\n");
}

std::string described(const RegionBatch& b, std::int64_t first_picture, std::int64_t picture) {
  std::string out;
  for (const Region& r : b.regions) {
    if (r.picture != picture) continue;
    out += cat(first_picture, ".", r.slot, ":", r.label.object, "[", r.box.x2, " ", r.box.y2, "]");
    for (const std::int64_t c : r.label.characters) out += cat("+", c);
  }
  return out;
}

}  // namespace

TEST_CASE("fixed slots: each of four ranks that makes its own micro-batches alone makes those of the whole step") {
  const DataSet d;
  const std::string json = d.ten();
  LoaderOptions samples = two_by_two(json);
  samples.micro_batches_per_step = 8;
  check_ranks<Loader>(samples, 8);
  write_durably(d.path("p3.png"), "no picture any more");  // and with a faulty record
  check_ranks<Loader>(samples, 8);

  PackOptions o = pack_options(d, caption_shard(d, "c.tar", 40), 400);
  pack_data(o, small_processor());
  PackedLoaderOptions packs;
  packs.index = o.out;
  packs.packs_per_step = 4;
  check_ranks<PackedLoader>(packs, 4);
}

TEST_CASE("fixed slots: a faulty record at any place leaves its own slot empty and moves no other (T-43)") {
  const DataSet d;
  const std::string json = d.ten();
  const std::vector<Json> records = Json::read(json).items();
  Loader good(two_by_two(json), small_processor());
  std::vector<MicroBatch> want;
  for (int s = 0; s < 6; ++s)
    for (MicroBatch& b : good.next().micro_batches) want.push_back(std::move(b));
  for (std::int64_t broken = 0; broken < 10; ++broken) {
    std::vector<Json> changed = records;
    changed[static_cast<std::size_t>(broken)].set("conversations", Json::array());
    LoaderOptions options = two_by_two(d.json(changed, "broken.json"));
    options.rejects_path = d.path("rejects.jsonl");
    Loader loader(options, small_processor());
    std::int64_t met = 0;
    for (std::size_t s = 0; s < 6; ++s) {
      const GlobalStep step = loader.next();
      CHECK(step.samples == 4);
      for (std::size_t m = 0; m < 2; ++m) {
        const MicroBatch& b = step.micro_batches[m];
        auto expected = by_sample(want[2 * s + m]);
        const MicroBatchPlan plan = loader.plan(static_cast<std::int64_t>(s), static_cast<std::int64_t>(m));
        for (std::size_t i = 0; i < plan.slots.size(); ++i)
          if (plan.slots[i].record == broken) expected[i].clear(), ++met;
        CHECK(by_sample(b) == expected);
        std::int64_t patches = 0;
        for (const auto& g : b.grids) patches += g[0] * g[1] * g[2];
        CHECK(patches == (b.pixel_values ? b.pixel_values.dim(0) : 0));
      }
    }
    CHECK(met >= 2);
    CHECK(loader.position().empty == met);
    CHECK(loader.position().rejected == std::vector<std::int64_t>{broken});
    const auto lines = json_lines(options.rejects_path);
    REQUIRE(lines.size() == 1);  // once, though it was met in every epoch
    CHECK(lines[0].at("record").as_int() == broken + 1);
  }
}

TEST_CASE("fixed slots: a pack of which nothing is left is an empty micro-batch in its place") {
  const DataSet d;
  std::vector<Json> records;
  for (int i = 0; i < 5; ++i) {
    d.png(cat("p", i, ".png"), 56, 56, i);
    records.push_back(record(std::to_string(i), cat("p", i, ".png"),
                             {"<image>", std::string(100 + 7 * static_cast<std::size_t>(i), 'a')}));
  }
  const PackOptions o = pack_options(d, d.json(records), 300);  // too little for two
  pack_data(o, small_processor());
  PackedLoaderOptions l;
  l.index = o.out;
  PackedLoader good(l, small_processor());
  REQUIRE(good.index().packs.size() == 5);
  std::vector<MicroBatch> want;
  for (int s = 0; s < 10; ++s) want.push_back(good.next().micro_batches[0]);
  write_durably(d.path("p3.png"), "no picture any more");
  PackedLoader loader(l, small_processor());
  for (std::int64_t s = 0; s < 10; ++s) {
    const MicroBatch b = loader.next().micro_batches.at(0);
    if (good.index().packs[loader.plan(s, 0).slots[0].record][0] != 3) {
      CHECK(same(b, want[static_cast<std::size_t>(s)]));
      continue;
    }
    CHECK(b.tokens() == 0);
    CHECK(b.samples == 1);
    CHECK(!b.pixel_values);
  }
  CHECK(loader.position().empty == 2);
  CHECK(loader.position().rejected == std::vector<std::int64_t>{3});
}

TEST_CASE("fixed slots: pictures with regions keep their slots and draws; their ranks and faults likewise") {
  const DataSet d;
  const auto file = [&](int broken) {
    std::string lines;
    for (int i = 0; i < 7; ++i) {
      d.png(cat("r", i, ".png"), 56, 28 + 28 * (i % 3), 10 * i);
      lines += region_line(i == broken ? "gone.png" : cat("r", i, ".png"), i);
    }
    return d.write("regions.jsonl", lines);
  };
  RegionLoaderOptions o;
  o.images.min_pixels = 28 * 28;
  o.regions_per_picture = 2;
  o.labels_per_text = 2;
  o.max_rejects = 1;
  o.regions = file(-1);
  o.pictures_per_micro_batch = 2;
  o.micro_batches_per_step = 4;
  std::vector<std::vector<std::string>> want;  // by micro-batch, then by slot
  RegionLoader good(o);
  for (std::int64_t s = 0; s < 4; ++s) {
    const RegionStep step = good.next();
    for (std::int64_t m = 0; m < 4; ++m) {
      const RegionBatch& b = step.micro_batches[static_cast<std::size_t>(m)];
      want.push_back({described(b, 0, 0), described(b, 1, 1)});
      const RegionBatch again = RegionLoader(o).micro_batch(s, m).batch;
      CHECK(described(again, 0, 0) + described(again, 1, 1) == want.back()[0] + want.back()[1]);
      CHECK(same_bits(again.pixel_values, b.pixel_values));
    }
  }
  for (int broken = 0; broken < 7; ++broken) {
    o.regions = file(broken);
    RegionLoader loader(o);
    std::int64_t met = 0;
    for (std::int64_t s = 0; s < 4; ++s) {
      const RegionStep step = loader.next();
      CHECK(step.pictures == 8);
      for (std::int64_t m = 0; m < 4; ++m) {
        const RegionBatch& b = step.micro_batches[static_cast<std::size_t>(m)];
        const MicroBatchPlan plan = loader.plan(s, m);
        std::int64_t picture = 0;
        for (std::size_t i = 0; i < 2; ++i) {
          if (plan.slots[i].record == broken) ++met;
          else
            CHECK(described(b, static_cast<std::int64_t>(i), picture++) ==
                  want[static_cast<std::size_t>(4 * s + m)][i]);
        }
        CHECK(static_cast<std::int64_t>(b.grids.size()) == picture);
      }
    }
    CHECK(loader.state().empty == met);
    CHECK(loader.state().rejects.total() == 1);
  }
}

TEST_CASE("fixed slots: other data is refused on resume, though it holds as many records (T-35)") {
  const DataSet d;
  std::vector<Json> a, b;
  for (int i = 0; i < 6; ++i) {
    a.push_back(record(std::to_string(i), Json(), {"What?", cat("A ", i)}));
    b.push_back(record(std::to_string(i), Json(), {"What?", cat("B ", i)}));
  }
  Loader first(two_by_two(d.json(a, "a.json")), small_processor());
  first.next();
  Loader other(two_by_two(d.json(b, "b.json")), small_processor());
  CHECK(contains(message_of([&] { other.restore(first.state()); }),
                 "b.json: is not the data of the state to resume from: its content has changed"));
  Loader moved(two_by_two(d.json(a, "moved.json")), small_processor());
  CHECK(message_of([&] { moved.restore(first.state()); }) == "");

  d.png("r.png", 56, 56, 3);
  RegionLoaderOptions o;
  o.regions = d.write("one.jsonl", region_line("r.png", 1) + region_line("r.png", 2));
  const RegionLoaderState state = RegionLoader(o).state();
  o.regions = d.write("two.jsonl", region_line("r.png", 2) + region_line("r.png", 1));
  CHECK(contains(message_of([&] { RegionLoader(o).restore(state); }), "two.jsonl: is not the data"));
}

TEST_CASE("fixed slots: a step of which every record is faulty has loss 0 and gradient 0, and the run continues") {
  const DataSet d;
  std::vector<Json> records;
  for (int i = 0; i < 6; ++i) records.push_back(record(std::to_string(i), Json(), {"q", i < 2 ? "" : "a b c"}));
  LoaderOptions options;
  options.json = d.json(records);
  options.micro_batches_per_step = 2;
  options.max_rejects = 2;
  const auto all_faulty = [&](std::int64_t step) {  // slots 2 step and 2 step + 1 are records 0 and 1
    const Permutation order(6, static_cast<std::uint64_t>(options.seed), 0);
    return order(2 * step) < 2 && order(2 * step + 1) < 2;
  };
  options.seed = 1;
  while (!all_faulty(1)) ++options.seed;
  for (const NormaliseBy by :
       {NormaliseBy::micro_batch_mean, NormaliseBy::global_token_mean, NormaliseBy::sample_mean}) {
    const auto model = random_model(byte_config());
    Loader loader(options, small_processor());
    TrainOptions train;
    train.steps = 3;
    train.normalise_by = by;
    LanguageObjective objective(*model, loader, train);
    StepEngine trainer(objective, train);
    for (int s = 0; s < 3; ++s) {
      const StepReport r = trainer.step();
      CHECK(r.samples == 2);
      CHECK((r.loss > 0) == (s != 1));
      CHECK((r.labelled > 0) == (s != 1));
      CHECK((r.gradient_norm > 0) == (s != 1));
      CHECK(std::isfinite(r.loss));
    }
    CHECK(loader.rejects().total() == 2);
  }
}

}  // namespace ov::loader_test
