#include <doctest/doctest.h>

#include <set>

#include "tests/data/pack_fixture.h"

namespace ov::loader_test {
namespace {

PackedLoaderOptions load(const PackOptions& o, std::int64_t packs_per_step = 1) {
  PackedLoaderOptions l;
  l.index = o.out;
  l.packs_per_step = packs_per_step;
  return l;
}

PackOptions packed_captions(const DataSet& d, int n = 40, std::int64_t capacity = 400) {
  PackOptions o = pack_options(d, caption_shard(d, "c.tar", n), capacity);
  pack_data(o, small_processor());
  return o;
}

}  // namespace

TEST_CASE(
    "packed loader: an epoch brings every pack once, as its samples side by side with their segments (T-25, R-18)") {
  const DataSet d;
  for (const TurnLayout turns : {TurnLayout::conversation, TurnLayout::shared_prefix}) {
    PackOptions o = pack_options(d, d.ten(), 500);
    o.turns = turns;
    pack_data(o, small_processor());
    PackedLoader loader(load(o), small_processor());
    const PackIndex& index = loader.index();
    const ConversationFile file(o.sources[0].path);
    std::vector<MicroBatch> want;
    for (std::int64_t p = 0; p < index.packs.size(); ++p) {
      std::vector<Sample> samples;
      for (const std::int64_t i : index.packs[p])
        samples.push_back(
            make_sample(file.read(index.record[static_cast<std::size_t>(i)]), small_processor(), {.turns = turns}));
      want.push_back(packed_micro_batch(samples));
    }
    std::set<std::int64_t> seen;
    for (std::int64_t k = 0; k < index.packs.size(); ++k) {
      const std::int64_t p = Permutation(index.packs.size(), 1234, 0)(k);
      const GlobalStep step = loader.next();
      REQUIRE(step.micro_batches.size() == 1);
      CHECK(same(step.micro_batches[0], want[static_cast<std::size_t>(p)]));
      CHECK(step.samples == static_cast<std::int64_t>(index.packs[p].size()));
      CHECK(step.tokens <= index.capacity);
      seen.insert(p);
    }
    CHECK(static_cast<std::int64_t>(seen.size()) == index.packs.size());
    const LoaderState s = loader.position();
    CHECK(s.epoch() == 1);
    CHECK(s.position() == 0);
    CHECK(s.step == index.packs.size());
    CHECK(s.samples == 10);
    CHECK(s.tokens + s.padding == index.packs.size() * index.capacity);
    std::int64_t labels = 0;
    for (const std::int32_t l : index.labels) labels += l;
    CHECK(s.labelled_tokens == labels);
  }
}

TEST_CASE("packed loader: order and state do not depend on prefetching, cache or packs in a step; epochs differ") {
  const DataSet d;
  const PackOptions o = packed_captions(d);
  PackedLoader plain(load(o), small_processor());
  const std::int64_t packs = plain.index().packs.size();
  REQUIRE(packs > 6);
  std::vector<MicroBatch> want;
  for (std::int64_t k = 0; k < 2 * packs + 2; ++k) want.push_back(plain.next().micro_batches[0]);
  bool differs = false;
  for (std::int64_t k = 0; k < packs; ++k)
    differs = differs || !same(want[static_cast<std::size_t>(k)], want[static_cast<std::size_t>(packs + k)]);
  CHECK(differs);

  PackedLoaderOptions bare = load(o);
  bare.prefetch = false;
  bare.cache_bytes = 0;
  PackedLoaderOptions some = load(o, 2);
  some.cache_bytes = 30000;
  PackedLoader a(bare, small_processor()), b(some, small_processor());
  for (std::int64_t k = 0; k < 2 * packs + 2; ++k)
    CHECK(same(a.next().micro_batches[0], want[static_cast<std::size_t>(k)]));
  for (std::int64_t k = 0; k < packs + 1; ++k) {
    const GlobalStep step = b.next();
    CHECK(same(step.micro_batches[0], want[static_cast<std::size_t>(2 * k)]));
    CHECK(same(step.micro_batches[1], want[static_cast<std::size_t>(2 * k + 1)]));
  }
  CHECK(a.position() == plain.position());
  CHECK(b.position().position() == plain.position().position());
  CHECK(b.position().tokens == plain.position().tokens);
  CHECK(b.position().padding == plain.position().padding);

  PackedLoaderOptions other = load(o);
  other.seed = 5;
  PackedLoader c(other, small_processor());
  differs = false;
  for (std::int64_t k = 0; k < packs; ++k)
    differs = differs || !same(c.next().micro_batches[0], want[static_cast<std::size_t>(k)]);
  CHECK(differs);
}

TEST_CASE("packed loader: a state goes through JSON and a new loader goes on from it exactly, wherever it is taken") {
  const DataSet d;
  const PackOptions o = packed_captions(d, 30);
  PackedLoader whole(load(o, 2), small_processor());
  std::vector<GlobalStep> steps;
  std::vector<Json> states;
  for (int k = 0; k < 12; ++k) {
    states.push_back(whole.state());
    steps.push_back(whole.next());
  }
  REQUIRE(whole.position().epoch() >= 1);
  for (std::size_t at = 0; at < 12; ++at) {
    PackedLoader resumed(load(o, 2), small_processor());
    if (at % 2) resumed.next();  // a used one as well
    resumed.restore(Json::parse(states[at].dump(), "state"));
    CHECK(resumed.state().dump() == states[at].dump());
    for (std::size_t k = at; k < 12; ++k) CHECK(same(resumed.next(), steps[k]));
    CHECK(resumed.position() == whole.position());
  }
}

TEST_CASE("packed loader: a state of another index or seed, and a state that is none, are refused (T-35)") {
  const DataSet d;
  const PackOptions o = packed_captions(d);
  PackedLoader loader(load(o), small_processor());
  loader.next();
  const Json good = loader.state();
  const auto refused = [&](const char* key, Json value) {
    Json bad = good;
    bad.set(key, std::move(value));
    return message_of([&] { loader.restore(bad); });
  };
  CHECK(refused("tokens", 5) == "");
  CHECK(
      contains(refused("data", "0123456789abcdef"), "packs.safetensors: is not the data of the state to resume from"));
  CHECK(contains(refused("seed", 9), "data.seed is 1234, but in the state to resume from it is 9"));
  CHECK(contains(refused("step", -1), "loader state: step: expected an integer of at least 0, found -1"));
  CHECK(contains(refused("rejects", 3), "loader state: rejects: expected"));
  CHECK(contains(message_of([&] { loader.restore(Json::object({{"data", "x"}})); }), "loader state: seed: missing"));
}

TEST_CASE(
    "packed loader: another tokenizer, other pixel limits, changed data or a changed picture are told at once (R-16)") {
  const DataSet d;
  const std::string json = d.ten();
  const PackOptions o = pack_options(d, json, 500);
  pack_data(o, small_processor());
  const auto refused = [&](const PackedLoaderOptions& l) {
    return message_of([&] {
      PackedLoader loader(l, small_processor());
      for (int k = 0; k < 20; ++k) loader.next();
    });
  };
  CHECK(refused(load(o)) == "");
  PackedLoaderOptions smaller = load(o);
  smaller.limits.max_pixels = 56 * 56;
  CHECK(contains(refused(smaller),
                 "was packed with another tokenizer or other pixel limits (now 784 to 3136): pack again"));
  PackedLoaderOptions none = load(o);
  none.packs_per_step = 0;
  CHECK(contains(refused(none), "train.micro_batches: expected at least 1"));

  // The data may lie elsewhere, as long as it is the same.
  PackedLoaderOptions moved = load(o);
  moved.sources = {{d.write("copy.json", read_file(json)), ""}};
  CHECK(refused(moved) == "");
  moved.sources = {{d.write("copy.json", read_file(json) + " "), ""}};
  CHECK(contains(refused(moved), "the data is not what was packed (" + d.path("copy.json") + "): pack again"));

  const std::string picture = read_file(d.path("p3.png"));
  d.png("p3.png", 100, 100, 1);
  CHECK(contains(refused(load(o)), "its pictures are not those that were packed: pack again"));
  write_durably(d.path("p3.png"), picture);
  CHECK(refused(load(o)) == "");
}

TEST_CASE(
    "packed loader: a sample that breaks when it is decoded leaves its pack, is counted, and nothing else moves") {
  const DataSet d;
  const std::string json = d.ten();
  const PackOptions o = pack_options(d, json, 250);
  pack_data(o, small_processor());
  const std::string picture = read_file(d.path("p3.png"));
  write_durably(d.path("p3.png"), picture.substr(0, 60));  // a header without pixels
  PackedLoaderOptions l = load(o);
  l.rejects_path = d.path("rejects.jsonl");
  PackedLoader loader(l, small_processor());
  std::int64_t good = 0;
  while (loader.position().epoch() < 2) {
    const GlobalStep step = loader.next();
    CHECK(step.samples > 0);
    std::set<std::int64_t> with_tokens(step.micro_batches[0].sample_of_segment.begin(),
                                       step.micro_batches[0].sample_of_segment.end());
    good += static_cast<std::int64_t>(with_tokens.size());
  }
  CHECK(good == 18);
  CHECK(loader.position().samples == 20);
  CHECK(loader.position().empty == 2);
  CHECK(loader.rejects()[RejectReason::image_unusable] == 1);
  CHECK(loader.rejects().total() == 1);
  CHECK(loader.position().step == 2 * loader.index().packs.size());
  std::vector<Json> lines;
  JsonlReader reader(l.rejects_path);
  for (Json line; reader.next(&line);) lines.push_back(line);
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].at("epoch").as_int() == 0);
  CHECK(lines[0].at("record").as_int() == 4);

  l.max_rejects = 0;
  PackedLoader strict(l, small_processor());
  const auto use = [&] {
    for (int k = 0; k < 20; ++k) strict.next();
  };
  const std::string error = message_of(use);
  CHECK(contains(error, "1 of 10 samples rejected, more than data.max_rejects 0 (image_unusable 1); the last: "));
  CHECK(message_of(use) == error);  // it stays failed
}

}  // namespace ov::loader_test
