#include "data/mixture.h"

#include <doctest/doctest.h>

#include <map>

#include "store/energon.h"
#include "store/tar.h"
#include "tests/data/loader_fixture.h"

namespace ov::loader_test {
namespace {

std::size_t set_of(const std::vector<std::int64_t>& sizes, std::int64_t record) {
  std::size_t set = 0;
  while (record >= sizes[set]) record -= sizes[set++];
  return set;
}

}  // namespace

TEST_CASE("mixture: every period has the weights exactly, and a set gives all its records before one comes again") {
  const std::vector<std::int64_t> sizes = {7, 3, 11};
  const Mixture m = Mixture::by_weight(sizes, {0.5, 0.125, 0.375});
  REQUIRE(m.period() == 8);
  std::vector<std::map<std::int64_t, int>> seen(sizes.size());
  std::vector<std::int64_t> drawn(sizes.size());
  for (std::int64_t p = 0; p < 200; ++p) {
    std::vector<int> here(sizes.size());
    for (std::int64_t k = 0; k < 8; ++k) {
      const Slot slot = m.at(8 * p + k, 3);
      const std::size_t set = set_of(sizes, slot.record);
      ++here[set], ++drawn[set], ++seen[set][slot.record];
    }
    CHECK(here == std::vector<int>{4, 1, 3});
    for (std::size_t s = 0; s < sizes.size(); ++s)
      for (const auto& [record, times] : seen[s]) {
        CHECK(times >= drawn[s] / sizes[s]);  // of those seen at all
        CHECK(times <= drawn[s] / sizes[s] + 1);
      }
  }
  for (std::size_t s = 0; s < sizes.size(); ++s) CHECK(static_cast<std::int64_t>(seen[s].size()) == sizes[s]);
  // The order is drawn: another seed, another order; a place is a function of seed and number alone.
  int same = 0;
  for (std::int64_t k = 0; k < 800; ++k) same += m.at(k, 3).record == m.at(k, 4).record;
  CHECK(same < 400);
  const Mixture other = Mixture::by_weight(sizes, {4, 1, 3});  // that was asked for nothing before
  for (std::int64_t k = (std::int64_t{1} << 50) + 40; k >= std::int64_t{1} << 50; --k)
    CHECK(std::pair(m.at(k, 3).record, m.at(k, 3).epoch) == std::pair(other.at(k, 3).record, other.at(k, 3).epoch));
}

TEST_CASE("mixture: weights that no short period has are kept to a millionth; repetitions are an epoch") {
  const std::vector<double> weights = {0.31830988618, 0.1, 0.58169011382};
  const Mixture m = Mixture::by_weight({5, 5, 5}, weights);
  for (std::size_t s = 0; s < weights.size(); ++s)
    CHECK(static_cast<double>(m.draws(s)) / static_cast<double>(m.period()) ==
          doctest::Approx(weights[s]).epsilon(2e-6));
  const Mixture epochs = Mixture::by_repetitions({4, 3}, {2, 1});
  REQUIRE(epochs.period() == 11);
  for (std::int64_t e = 0; e < 5; ++e) {
    std::map<std::int64_t, int> seen;
    for (std::int64_t k = 0; k < 11; ++k) ++seen[epochs.at(11 * e + k, 1).record];
    CHECK(seen == std::map<std::int64_t, int>{{0, 2}, {1, 2}, {2, 2}, {3, 2}, {4, 1}, {5, 1}, {6, 1}});
  }
  CHECK(Mixture::by_weight({4, 3}, {1, 0}).draws(1) == 0);
  for (const double small : {3.0, 1.0, 2000.0})  // beside 5e9: all below 2^-21
    CHECK(contains(message_of([&] { Mixture::by_weight({4, 3}, {5e9, small}); }), "set 2 of 3 records would never be"));
  CHECK(Mixture::by_weight({4, 3}, {5e9, 5e3}).draws(1) == 1);
  CHECK(contains(message_of([] {
                   Mixture::by_repetitions({1, 3}, {0.4, 1});
                 }),
                 "its repetitions 0.4 is less than one"));
  CHECK(Mixture::by_repetitions({2, 3}, {0.4, 1}).draws(0) == 1);
  CHECK(contains(message_of([] { Mixture::by_weight({4}, {0}); }), "weight above 0"));
  CHECK(contains(message_of([] { Mixture::by_weight({4, 0}, {1, 1}); }), "set 2 holds no record"));
}

TEST_CASE("mixture: a loader reads an energon file of tars and JSON, in its shares, and resumes at once where it was") {
  const DataSet d;
  std::filesystem::create_directory(d.path("w"));
  for (const char* shard : {"0.tar", "1.tar"}) {
    TarWriter tar(d.path(cat("w/", shard)));
    for (int i = 0; i < 3; ++i)
      tar.add(cat(shard[0], i, ".json"),
              R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": "w"}])");
    tar.finish();
  }
  EnergonMeta meta{"", {"0.tar"}, {}};
  write_energon_meta(d.path("w"), meta, "m", "");
  write_durably(d.path("w/.nv-meta/dataset.yaml"), "");
  write_durably(d.path("w/.nv-meta/split.yaml"), "split_parts: {train: ['0.tar'], val: ['1.tar']}\n");
  std::string lines;
  for (int i = 0; i < 5; ++i) lines += record(std::to_string(i), Json(), {"q", "jjjj"}).dump() + "\n";
  d.write("j.jsonl", lines);
  const auto mixture = [&](const char* name, const std::string& entries) {
    return d.write(name, "__class__: MetadatasetV2\nsplits:\n  train:\n    blend:\n" + entries);
  };
  LoaderOptions o;
  o.json = mixture("m.yaml",
                   "      - {path: w, weight: 1}\n      - {path: j.jsonl, weight: 2}\n"
                   "      - {path: w, weight: 1, split_part: val}\n");
  o.samples_per_micro_batch = 2, o.micro_batches_per_step = 2, o.seed = 5;
  const Processor p = small_processor();
  Loader loader(o, p);
  CHECK(loader.records() == 11);
  std::vector<GlobalStep> steps;
  Json state;
  for (int s = 0; s < 12; ++s) {
    if (s == 7) state = loader.state();
    steps.push_back(loader.next());
    std::int64_t long_answers = 0;  // those of the JSON: half of each step, which is a period
    for (const MicroBatch& b : steps.back().micro_batches) long_answers += count_labels(b);
    CHECK(long_answers == 2 * (1 + 1) + 2 * (4 + 1));
  }
  Loader other(o, p);
  other.restore(state);
  for (std::size_t s = 7; s < steps.size(); ++s) CHECK(same(other.next(), steps[s]));

  o.json = mixture("n.yaml",
                   "      - {path: w, weight: 1}\n      - {path: j.jsonl, weight: 1}\n"
                   "      - {path: w, weight: 1, split_part: val}\n");
  Loader shares(o, p);
  CHECK(contains(message_of([&] { shares.restore(state); }), "is not the data of the state"));
}

}  // namespace ov::loader_test
