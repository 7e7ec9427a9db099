// Who has what of a row that several ranks share.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "base/rng.h"
#include "parallel/context.h"
#include "parallel/data.h"
#include "parallel/mesh.h"
#include "parallel/zero2.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

ContextRow random_row(const Philox& random) {
  std::uint64_t draws = 0;
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random.below(draws++, static_cast<std::uint64_t>(n)));
  };
  ContextRow row;
  std::int64_t features = 0;
  const std::int64_t units = below(6);
  for (std::int64_t u = 0; u < units; ++u) {
    const auto prefix = std::ssize(row.segments);
    const std::int64_t branches = below(3) == 0 ? 1 + below(3) : 0;
    for (std::int64_t b = 0; b <= branches; ++b) {
      const auto begin = std::ssize(row.features), length = below(b == 0 ? 40 : 9) + (b == 0);
      row.segments.push_back({begin, length, begin, length, b == 0 ? -1 : prefix});
      for (std::int64_t t = 0; t < length; ++t) {
        const bool feature = b == 0 && below(3) == 0;
        if (feature && (row.of_pictures.empty() || t == 0 || below(4) == 0)) row.of_pictures.push_back(0);
        if (feature) ++row.of_pictures.back();
        row.features.push_back(feature ? features++ : -1);
      }
    }
  }
  return row;
}

// The keys that query i of a row of the table sees, in their order.
std::vector<std::int64_t> seen_by(const kernels::SegmentTable& table, const kernels::SegmentRow& r, std::int64_t i) {
  std::vector<std::int64_t> keys;
  if (r.prefix >= 0) {
    const kernels::SegmentRow& p = table.at(static_cast<std::size_t>(r.prefix));
    for (std::int64_t k = 0; k < p.k_length; ++k) keys.push_back(p.k_begin + k);
  }
  for (std::int64_t k = 0; k < r.k_length - r.q_length + i + 1; ++k) keys.push_back(r.k_begin + k);
  return keys;
}

// By query, of those that a row has.
std::map<std::int64_t, std::vector<std::int64_t>> all_seen(const kernels::SegmentTable& table) {
  std::map<std::int64_t, std::vector<std::int64_t>> seen;
  for (const kernels::SegmentRow& r : table)
    for (std::int64_t i = 0; i < r.q_length; ++i) seen[r.q_begin + i] = seen_by(table, r, i);
  return seen;
}

}  // namespace

TEST_CASE(
    "context: every token is one rank's, sees the keys of one rank in their order, and has its picture's feature") {
  std::int64_t cut = 0, whole = 0, branches = 0, uneven = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const Philox random(seed, "context rows");
    const ContextRow row = random_row(random);
    const int c = 1 + static_cast<int>(random.below(1000, 5));
    ContextCosts costs{1, static_cast<double>(random.below(1001, 3)), {}};
    double cost = 0;
    for (std::size_t p = 0; p < row.of_pictures.size(); ++p)
      costs.pictures.push_back(static_cast<double>(random.below(2000 + p, 100)));
    INFO("seed ", seed, ", ", c, " ranks");
    const ContextPlan plan(row, costs, c);
    const auto expected = all_seen(row.segments);
    for (const auto& [token, keys] : expected) cost += costs.token + costs.pair * static_cast<double>(keys.size());
    for (const double p : costs.pictures) cost += p;

    std::set<std::int64_t> had, pictures;
    double all = 0, most = 0;
    std::vector<RowSource> picture_rows;  // by feature
    std::vector<std::int64_t> first = {0};
    for (const std::int64_t n : row.of_pictures) first.push_back(first.back() + n);
    picture_rows.resize(static_cast<std::size_t>(first.back()));
    for (int r = 0; r < c; ++r) {
      std::int64_t next = 0;
      for (const std::int64_t p : plan.pictures[static_cast<std::size_t>(r)]) {
        CHECK(pictures.insert(p).second);
        for (std::int64_t f = first[static_cast<std::size_t>(p)]; f < first[static_cast<std::size_t>(p) + 1]; ++f)
          picture_rows[static_cast<std::size_t>(f)] = {r, next++};
      }
      all += plan.costs[static_cast<std::size_t>(r)], most = std::max(most, plan.costs[static_cast<std::size_t>(r)]);
    }
    CHECK(pictures.size() == row.of_pictures.size());
    CHECK(all == doctest::Approx(cost));
    for (int r = 0; r < c; ++r) {
      const auto& tokens = plan.tokens[static_cast<std::size_t>(r)];
      CHECK(std::is_sorted(tokens.begin(), tokens.end()));
      const kernels::SegmentTable table = plan.table(r);
      const auto sources = plan.key_sources(r);
      const auto T = std::ssize(tokens), keys = plan.cuts() ? std::ssize(sources) : T;
      const kernels::Segments checked(table, T, keys, true, cpu());  // or it refuses
      const auto seen = all_seen(table);
      CHECK(seen.size() == tokens.size());
      const auto features = plan.feature_sources(r);
      std::size_t feature = 0;
      for (std::int64_t t = 0; t < T; ++t) {
        const std::int64_t token = tokens[static_cast<std::size_t>(t)];
        CHECK(had.insert(token).second);
        std::vector<std::int64_t> whose;
        for (const std::int64_t k : seen.at(t)) {
          const RowSource s = plan.cuts() ? sources.at(static_cast<std::size_t>(k)) : RowSource{r, k};
          whose.push_back(plan.tokens[static_cast<std::size_t>(s.rank)].at(static_cast<std::size_t>(s.row)));
        }
        CHECK(whose == expected.at(token));
        const std::int64_t f = row.features[static_cast<std::size_t>(token)];
        if (f < 0) continue;
        const RowSource s = features.at(feature++), at = picture_rows[static_cast<std::size_t>(f)];
        CHECK(s.rank == at.rank);
        CHECK(s.row == at.row);
        if (!plan.moves_features()) CHECK(s.rank == r);
      }
      CHECK(feature == features.size());
    }
    CHECK(had.size() == row.features.size());
    if (plan.cuts()) ++cut;
    else ++whole;
    for (const auto& s : row.segments) branches += plan.cuts() && s.prefix >= 0;
    // No rank has much more than the mean, unless all units that could be cut are.
    if (most <= all / c * 1.125 * (1 + 1e-12)) continue;
    std::map<std::int64_t, std::vector<std::int64_t>> units;
    for (std::size_t i = 0; i < row.segments.size(); ++i) {
      const auto& s = row.segments[i];
      for (std::int64_t t = s.q_begin; t < s.q_begin + s.q_length; ++t)
        units[s.prefix < 0 ? static_cast<std::int64_t>(i) : s.prefix].push_back(t);
    }
    for (const auto& unit : units) {
      std::set<int> of;
      for (int r = 0; r < c; ++r)
        for (const std::int64_t t : unit.second)
          if (std::binary_search(plan.tokens[static_cast<std::size_t>(r)].begin(),
                                 plan.tokens[static_cast<std::size_t>(r)].end(), t))
            of.insert(r);
      if (std::ssize(unit.second) >= 2 * c) CHECK(of.size() > 1);
    }
    ++uneven;
  }
  CHECK(cut > 50);
  CHECK(whole > 50);
  CHECK(branches > 20);
  CHECK(uneven > 5);
}

TEST_CASE("mesh: a rank's place on every axis, and what is said of it") {
  class Place : public Communicator {
   public:
    using Communicator::Communicator;

   protected:
    void exchange(Call, const Parts&, const Parts&) override { throw std::logic_error("nothing is to be said"); }
  };
  const int D = 2, P = 3, C = 2, T = 2;
  for (int d = 0; d < D; ++d)
    for (int p = 0; p < P; ++p)
      for (int c = 0; c < C; ++c)
        for (int t = 0; t < T; ++t) {
          Place world(((d * P + p) * C + c) * T + t, D * P * C * T);
          const Mesh mesh(world, T, P, C);
          CHECK(std::array{mesh.data.rank(), mesh.pipe.rank(), mesh.context.rank(), mesh.tensor.rank()} ==
                std::array{d, p, c, t});
          CHECK(std::array{mesh.data.ranks(), mesh.pipe.ranks(), mesh.context.ranks(), mesh.tensor.ranks()} ==
                std::array{D, P, C, T});
        }
  Place two(0, 2);
  Parameters parameters;
  const std::string said = DataParallel(two, parameters).describe(4, 3);
  CHECK(said.starts_with("mesh: dp 2 x cp 3\n  ranks 0 to 2: 2 of 4 micro-batches, from 0, divided by tokens among 3"));
  CHECK(said.find("\n  ranks 3 to 5: 2 of 4 micro-batches, from 2") != said.npos);
  CHECK(said.find("no micro-batch") == said.npos);
}

TEST_CASE("mesh: who has no micro-batch is counted, and what is advised does give them some") {
  class Silent : public Communicator {
   public:
    using Communicator::Communicator;

   protected:
    void exchange(Call, const Parts&, const Parts&) override { throw std::logic_error("nothing is to be said"); }
  };
  const auto said = [](int ranks, std::int64_t leaves, int zero) {
    Silent world(0, ranks);
    Parameters parameters;
    return zero < 2 ? DataParallel(world, parameters).describe(leaves) : Zero2(world, parameters).describe(leaves);
  };
  CHECK(contains(said(3, 2, 1),
                 "\n  1 of 3 copies have no micro-batch: a step has 2 (train.micro_batches); fewer ranks"));
  // Each has 2 of 5, so 3 copies do it. 4 times 2 are for all; and ZeRO-2 gives one each, and the first another.
  const std::string uneven = said(4, 5, 1);
  CHECK(contains(uneven, "\n  1 of 4 copies have no micro-batch: each has a power of two of them"));
  CHECK(contains(uneven, "train.micro_batches 8 gives all as many, parallel.zero 2 divides any number evenly"));
  CHECK_FALSE(contains(said(4, 8, 1), "no micro-batch"));
  CHECK_FALSE(contains(said(4, 5, 2), "no micro-batch"));
  // What is not built is not advised: ZeRO-2 on five copies; and in a pipeline it costs more than it gives.
  CHECK(contains(said(5, 6, 1), "2 of 5 copies"));
  CHECK_FALSE(contains(said(5, 6, 1), "parallel.zero 2"));
  CHECK_FALSE(contains(said_of_idle(1, 5, 4, 1, 2), "parallel.zero 2"));
  CHECK(contains(said_of_idle(1, 5, 6, 3, 1), "fewer ranks"));
  CHECK(said_of_idle(0, 8, 4, 1, 1) == "");
  // RL does not know how many a step will have, and has no train.micro_batches.
  CHECK(contains(said(2, 0, 1), "rank 1: a share of a step's micro-batches; updates"));
  CHECK_FALSE(contains(said(2, 0, 1), "no micro-batch"));
}

TEST_CASE("context: the shares of a long segment are even, whatever its length") {
  for (const int c : {2, 3, 4, 8})
    for (const std::int64_t L : {1000, 1001, 4099}) {
      const ContextRow row{{{0, L, 0, L}}, std::vector<std::int64_t>(static_cast<std::size_t>(L), -1), {}};
      const ContextPlan plan(row, {0, 1, {}}, c);
      CHECK(plan.cuts());
      std::vector<double> pairs;
      for (int r = 0; r < c; ++r) {
        double n = 0;
        for (const auto& [query, keys] : all_seen(plan.table(r))) n += static_cast<double>(keys.size());
        pairs.push_back(n);
      }
      const double mean = static_cast<double>(L) * static_cast<double>(L + 1) / 2 / c;
      for (const double n : pairs) CHECK(std::abs(n / mean - 1) < 0.01);
    }
}
