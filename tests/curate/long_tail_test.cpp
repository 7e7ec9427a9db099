// data_curation.md 9, acceptance 8: what a balanced draw is for.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/io/file.h"
#include "base/rng.h"
#include "curate/balance.h"
#include "curate/embeddings.h"
#include "tests/base/scratch.h"
#include "tests/curate/manifest.h"
#include "tests/linear_probe.h"

using namespace ov;
using test::Examples, test::manifest, test::probe, test::Row;

namespace {

constexpr std::int64_t width = 128, concepts = 120, pool_size = 24000, draws = 2000;

// A world of pictures, each of one concept's direction and noise; concept c has a share of about 1 / (c + 1)^1.1.
struct World {
  std::uint64_t seed;
  std::vector<double> upto;
  explicit World(std::uint64_t s) : seed(s) {
    for (std::int64_t c = 0; c < concepts; ++c)
      upto.push_back((c ? upto.back() : 0) + std::pow(static_cast<double>(c + 1), -1.1));
  }
  std::vector<float> middle(std::int64_t concept_) const {
    std::vector<float> x(width);
    for (std::size_t c = 0; c < x.size(); ++c)
      x[c] = Philox(seed, "concept", static_cast<std::uint64_t>(concept_)).normal(c);
    return x;
  }
  std::vector<float> picture(std::int64_t concept_, std::uint64_t number, const char* purpose) const {
    std::vector<float> x = middle(concept_);
    for (std::size_t c = 0; c < x.size(); ++c) x[c] += 2.0f * Philox(seed, purpose, number).normal(c);
    return x;
  }
  std::int64_t concept_of(std::int64_t i) const {
    const double u = Philox(seed, "zipf").uniform_f64(static_cast<std::uint64_t>(i)) * upto.back();
    return std::min<std::int64_t>(std::upper_bound(upto.begin(), upto.end(), u) - upto.begin(), concepts - 1);
  }
};

struct Accuracy {
  double tail = 0, middle = 0,
         head = 0;  // concepts of the lowest decile of frequency, of the eight between, the highest
};

Accuracy accuracy(const World& world, const std::vector<std::int64_t>& drawn) {
  Examples train, held_out;
  const auto row = [](const std::vector<float>& x) { return Row(x.begin(), x.end()); };
  for (const std::int64_t i : drawn) {
    const std::int64_t c = world.concept_of(i);
    train.add(row(world.picture(c, static_cast<std::uint64_t>(i), "pool")), {c});
  }
  constexpr std::int64_t each = 25;
  for (std::int64_t c = 0; c < concepts; ++c)
    for (std::int64_t i = 0; i < each; ++i)
      held_out.add(row(world.picture(c, static_cast<std::uint64_t>(c * each + i), "held out")), {c});
  const auto scores = probe(train, held_out, concepts);
  Accuracy out;
  constexpr std::int64_t decile = concepts / 10;
  for (std::size_t n = 0; n < scores.size(); ++n) {
    const std::int64_t c = held_out.labels[n][0];
    const bool right = std::max_element(scores[n].begin(), scores[n].end()) - scores[n].begin() == c;
    if (c >= concepts - decile) out.tail += right / double(decile * each);
    else if (c < decile) out.head += right / double(decile * each);
    else out.middle += right / double((concepts - 2 * decile) * each);
  }
  return out;
}

}  // namespace

TEST_CASE(
    "acceptance 8: a probe knows rare concepts better after a balanced draw than after a random one of the size") {
  Accuracy gained;
  constexpr int seeds = 3;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    const World world(seed);
    const ScratchDirectory dir;
    EmbeddingRows pictures, words;
    for (std::int64_t i = 0; i < pool_size; ++i) {
      const auto x = world.picture(world.concept_of(i), static_cast<std::uint64_t>(i), "pool");
      pictures.values.insert(pictures.values.end(), x.begin(), x.end());
      pictures.ids.push_back(cat("p", i)), pictures.records.push_back(i), pictures.sources.push_back(0);
    }
    for (std::int64_t c = 0; c < concepts; ++c) {
      const auto x = world.middle(c);
      words.values.insert(words.values.end(), x.begin(), x.end()), words.ids.push_back(cat("c", c));
    }
    pictures.write(dir / "pictures", width, {{"sources", "[\"pool\"]"}});
    words.write(dir / "words", width, {});
    BalanceOptions o;
    o.pictures = {dir / "pictures"}, o.concepts = dir / "words", o.out = dir / "manifest";
    // Two nearest, but those by chance do not count: they would make every concept look frequent (data_curation.md 2).
    o.k = 2, o.floor = 0.3;
    o.n = draws, o.seed = seed, o.draw = BalanceOptions::Draw::exact;
    balance(o);
    std::vector<std::int64_t> balanced, random(pool_size);
    for (const Json& r : manifest(o.out))
      if (r.at("draws").as_int() > 0) balanced.push_back(r.at("record").as_int());
    REQUIRE(balanced.size() == draws);
    const Permutation order(pool_size, seed, 7);
    for (std::int64_t i = 0; i < pool_size; ++i) random[static_cast<std::size_t>(i)] = order(i);
    random.resize(draws);
    const Accuracy b = accuracy(world, balanced), r = accuracy(world, random);
    CHECK(b.tail > r.tail);
    gained.tail += (b.tail - r.tail) / seeds, gained.middle += (b.middle - r.middle) / seeds;
    gained.head += (b.head - r.head) / seeds;
    // The twin: two random draws are closer to each other than the balanced one is to either.
    const Permutation other(pool_size, seed, 8);
    std::vector<std::int64_t> again(pool_size);
    for (std::int64_t i = 0; i < pool_size; ++i) again[static_cast<std::size_t>(i)] = other(i);
    again.resize(draws);
    CHECK(std::abs(accuracy(world, again).tail - r.tail) < b.tail - r.tail);
  }
  MESSAGE("balanced against random, accuracy gained: tail ", gained.tail, ", middle ", gained.middle, ", head ",
          gained.head);
  CHECK(gained.tail > 0);  // of the head nothing is promised: what it gains or loses is told
}
