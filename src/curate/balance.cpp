#include "curate/balance.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>

#include "base/hash.h"
#include "curate/embeddings.h"
#include "kernels/nearest.h"
#include "store/parquet/writer.h"

namespace ov {
namespace {

// Two records of one id would be drawn together, always. Ids are compared by their hashes, a share of them at a time,
// so that a pool of any size needs the same room.
void check_ids(const EmbeddingPool& pool) {
  const auto passes = static_cast<std::uint64_t>(pool.size / balance_ids_at_a_time + 1);
  std::vector<std::pair<std::uint64_t, std::int64_t>> seen;
  for (std::uint64_t pass = 0; pass < passes; ++pass) {
    seen.clear();
    for (const auto& p : pool.parts)
      for (std::int64_t i = p.begin; i < p.end; ++i)
        if (const std::uint64_t hash = fnv1a(pool.files[p.file].id(i)); hash % passes == pass)
          seen.push_back({hash, p.first + i - p.begin});
    std::sort(seen.begin(), seen.end());
    for (std::size_t i = 1; i < seen.size(); ++i) {
      if (seen[i].first != seen[i - 1].first) continue;
      std::string name[2], file;
      for (const int which : {0, 1})
        for (const auto& p : pool.parts)
          if (const std::int64_t row = seen[i - 1 + static_cast<std::size_t>(which)].second - p.first;
              row >= 0 && row < p.end - p.begin)
            name[which] = pool.files[p.file].id(p.begin + row), file = pool.files[p.file].path();
      if (name[0] == name[1]) input_error(file, ": the id ", name[0], " stands twice in the pool; ids must differ");
    }
  }
}

// The q-quantile: the smallest cosine that at least q of all are not above. By halves of the ordered bits, so that it
// takes two passes and 65 536 counters, whatever the pool's size.
float quantile(const std::function<void(const std::function<void(float)>&)>& scores, std::int64_t size, double q) {
  const auto ordered = [](float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
  };
  auto rank = std::max<std::int64_t>(0, static_cast<std::int64_t>(std::ceil(q * static_cast<double>(size))) - 1);
  std::uint32_t found = 0;
  for (const int shift : {16, 0}) {
    std::vector<std::int64_t> count(1 << 16);
    scores([&](float x) {
      if (shift == 16 || ordered(x) >> 16 == found >> 16) ++count[ordered(x) >> shift & 0xffffu];
    });
    std::uint32_t digit = 0;
    while (rank >= count[digit]) rank -= count[digit++];
    found |= digit << shift;
  }
  return std::bit_cast<float>(found >> 31 ? found & 0x7fffffffu : ~found);
}

// Shares of all counts that the most frequent 1, 2, 5 ... % of the concepts hold, and quantiles of the counts.
Json described(std::vector<std::int64_t> counts) {
  const Evenness e = evenness(counts);
  std::sort(counts.rbegin(), counts.rend());
  const double all = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
  const auto at = [&](double share) {
    return std::min(counts.size(), static_cast<std::size_t>(std::ceil(share * static_cast<double>(counts.size()))));
  };
  Json head = Json::object(), quantiles = Json::object();
  for (const double share : {0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0}) {
    std::int64_t upto = 0;
    for (std::size_t i = 0; i < at(share); ++i) upto += counts[i];
    head.set(cat(share), all > 0 ? static_cast<double>(upto) / all : 0.0);
  }
  for (const double q : {0.0, 0.1, 0.5, 0.9, 0.99, 1.0})
    quantiles.set(cat(q), counts[counts.size() - std::max<std::size_t>(at(q), 1)]);
  return Json::object({{"gini", e.gini},
                       {"effective_concepts", e.effective},
                       {"covered_concepts", e.covered},
                       {"pairs", static_cast<std::int64_t>(all)},
                       {"count_quantiles", quantiles},
                       {"share_of_most_frequent", head}});
}

ParquetField list_of(const std::string& name, ParquetField::Kind kind) {
  return {name, ParquetField::Kind::list, {{"element", kind}}};
}

}  // namespace

Json balance(const BalanceOptions& o) {
  const EmbeddingPool pool(o.pictures);
  const Embeddings vocabulary = Embeddings::open(o.concepts);
  for (const Embeddings& f : pool.files)
    if (f.width() != vocabulary.width())
      input_error(f.path(), ": its embeddings are ", f.width(), " wide, those of ", o.concepts, " ", vocabulary.width(),
                  "; both must come from one model");
  const std::int64_t k = o.k, M = vocabulary.size();
  if (k > M) input_error("balance.k is ", k, ", and ", o.concepts, " holds ", M, " concepts");
  if (o.weight == ConceptWeight::metaclip && o.draw != BalanceOptions::Draw::poisson)
    input_error("balance.weight metaclip is a probability, not a weight: it goes with balance.draw poisson alone");
  if (o.weight == ConceptWeight::metaclip && o.cap > 0)
    input_error("balance.cap has no effect with balance.weight metaclip, whose threshold is a cap already");

  std::string made_from = cat("nearest ", k, " ", EmbeddingPool::part_rows, " ", vocabulary.made_from());
  for (const Embeddings& f : pool.files) made_from += cat(" ", f.made_from(), " ", f.size());
  const Blocks blocks(o.out, made_from, static_cast<std::int64_t>(pool.parts.size()));
  Tensor directions;
  const bool join = blocks.make(o.shard, "nearest concepts", [&](std::int64_t b) {
    if (!directions) directions = vocabulary.directions(0, M);
    const auto& part = pool.parts[static_cast<std::size_t>(b)];
    const std::int64_t n = part.end - part.begin;
    const Tensor ids({n, k}, Dtype::i32, cpu()), scores({n, k}, Dtype::f32, cpu());
    kernels::nearest(
        {.ids = ids, .scores = scores, .a = pool.files[part.file].directions(part.begin, part.end), .b = directions});
    write_safetensors(blocks.path(b), {{"ids", ids}, {"scores", scores}});
  });
  if (!join) return {};
  check_ids(pool);

  // Every pass reads the blocks again, in the pool's order, and holds what belongs to concepts alone.
  using Ids = std::span<const std::int32_t>;
  using Scores = std::span<const float>;
  const auto width = static_cast<std::size_t>(k);
  const auto each = [&](auto&& f) {
    for (std::int64_t b = 0; b < blocks.count(); ++b) {
      const Safetensors file = Safetensors::open(blocks.path(b));
      const Tensor ids = file.tensor("ids"), scores = file.tensor("scores");
      const auto& part = pool.parts[static_cast<std::size_t>(b)];
      for (std::int64_t i = 0; i < part.end - part.begin; ++i)
        f(part, i, Ids(ids.row<std::int32_t>(i), width), Scores(scores.row<float>(i), width));
    }
  };
  const auto each_score = [&](const std::function<void(float)>& f) {
    each([&](const auto&, std::int64_t, Ids, Scores scores) {
      for (const float s : scores) f(s);
    });
  };
  const double floor =
      std::max(o.floor, o.floor_quantile > 0 ? double(quantile(each_score, pool.size * k, o.floor_quantile)) : -1.0);
  std::int64_t below_floor = 0, rare_pairs = 0, rare = 0;
  std::vector<std::int64_t> counts(static_cast<std::size_t>(M));
  each([&](const auto&, std::int64_t, Ids ids, Scores scores) {
    for (std::size_t j = 0; j < width; ++j)
      if (scores[j] < floor) ++below_floor;
      else ++counts[static_cast<std::size_t>(ids[j])];
  });
  for (std::int64_t& f : counts)
    if (f > 0 && f < o.min_count) rare_pairs += f, f = 0, ++rare;
  // The concepts of a picture that count; -1: one that does not, which the manifest shows all the same.
  std::vector<std::int32_t> list(width);
  const auto counted = [&](Ids ids, Scores scores) -> Ids {
    for (std::size_t j = 0; j < width; ++j)
      list[j] = scores[j] < floor || counts[static_cast<std::size_t>(ids[j])] == 0 ? -1 : ids[j];
    return list;
  };
  const auto weight_of = [&](Ids own) {
    const double w = concept_weight(own, counts, o.weight);
    return o.cap > 0 ? std::min(w, o.cap) : w;
  };
  const EachNumber weights = [&](const std::function<void(double)>& f) {
    each([&](const auto&, std::int64_t, Ids ids, Scores scores) { f(weight_of(counted(ids, scores))); });
  };

  std::int64_t capped = 0, none = 0;
  double sum = 0;
  each([&](const auto&, std::int64_t, Ids ids, Scores scores) {
    const double w = concept_weight(counted(ids, scores), counts, o.weight);
    capped += o.cap > 0 && w > o.cap, none += w == 0;
    sum += o.cap > 0 ? std::min(w, o.cap) : w;
  });
  const auto expected = [&](double t) {
    double pictures = 0;
    each([&](const auto&, std::int64_t, Ids ids, Scores scores) {
      pictures += metaclip_probability(counted(ids, scores), counts, t);
    });
    return pictures;
  };
  const bool metaclip = o.weight == ConceptWeight::metaclip;
  const double n = static_cast<double>(o.n);
  const double lambda = metaclip ? metaclip_threshold(expected, counts, n) : scale_for(weights, n);
  using Draw = BalanceOptions::Draw;
  Smallest first;
  if (o.draw == Draw::exact)
    first = smallest(
        [&](const std::function<void(double)>& f) {
          each([&](const auto& p, std::int64_t i, Ids ids, Scores scores) {
            f(waiting_time(weight_of(counted(ids, scores)), drawn_number(o.seed, pool.files[p.file].id(p.begin + i))));
          });
        },
        o.n);
  ReplacementDraws repeated(o.draw == Draw::replacement ? o.n : 0, sum, o.seed);

  using Kind = ParquetField::Kind;
  ParquetWriter manifest(o.out,
                         {{"id"},
                          {"source"},
                          {"record", Kind::integer},
                          list_of("concepts", Kind::integer),
                          list_of("scores", Kind::real),
                          {"weight", Kind::real},
                          {"probability", Kind::real},
                          {"u", Kind::real},
                          {"draws", Kind::integer},
                          {"reason"}},
                         {.group_rows = EmbeddingPool::part_rows});
  std::int64_t kept = 0, drawn = 0;
  std::vector<std::int64_t> after(static_cast<std::size_t>(M));
  each([&](const auto& p, std::int64_t i, Ids ids, Scores scores) {
    const Embeddings& f = pool.files[p.file];
    const std::int64_t row = p.begin + i;
    const Ids own = counted(ids, scores);
    const double w = weight_of(own), u = drawn_number(o.seed, f.id(row));
    const double probability = metaclip ? metaclip_probability(own, counts, lambda)
                               : o.draw == Draw::replacement
                                   ? -std::expm1(n * std::log1p(-w / sum))  // that at least one of n draws hits it
                               : w > 0 ? std::min(1.0, lambda * w)
                                       : 0;
    std::int64_t draws = u < probability;
    if (o.draw == Draw::exact) {
      const double wait = waiting_time(w, u);
      draws = wait < first.below || (wait == first.below && first.ties-- > 0);
    }
    if (o.draw == Draw::replacement) draws = repeated.next(w, p.first + i + 1 == pool.size);
    kept += draws > 0, drawn += draws;
    for (const std::int32_t c : own)
      if (c >= 0) after[static_cast<std::size_t>(c)] += draws;
    if (!o.whole_pool && draws == 0) return;
    Json concepts = Json::array(), cosines = Json::array();
    for (std::size_t j = 0; j < width; ++j) concepts.push(std::int64_t{ids[j]}), cosines.push(double(scores[j]));
    manifest.add(Json::object({{"id", f.id(row)},
                               {"source", f.source(row)},
                               {"record", f.record(row)},
                               {"concepts", std::move(concepts)},
                               {"scores", std::move(cosines)},
                               {"weight", w},
                               {"probability", probability},
                               {"u", u},
                               {"draws", draws},
                               {"reason", w > 0 ? "" : "no_concept"}}));
  });
  manifest.finish();
  Json report = Json::object({{"onevision", "balance"},
                              {"in", pool.size},
                              {"out", kept},
                              {"draws", drawn},
                              {"not_drawn", pool.size - kept - none},
                              {"no_concept", none},
                              {"n", o.n},
                              {"k", k},
                              {"concepts", M},
                              {"weights_sum", sum},
                              {"scale", std::isfinite(lambda) ? Json(lambda) : Json()},
                              {"floor", floor},
                              {"pairs_below_floor", below_floor},
                              {"rare_concepts", rare},
                              {"pairs_of_rare_concepts", rare_pairs},
                              {"capped_weights", capped},
                              {"pool", described(counts)},
                              {"drawn", described(after)}});
  write_durably(o.out + ".report.json", report.dump(2) + "\n");
  blocks.remove();
  return report;
}

}  // namespace ov
