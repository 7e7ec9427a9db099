#include "curate/balance.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "base/hash.h"
#include "curate/embeddings.h"
#include "kernels/nearest.h"
#include "store/parquet/writer.h"

namespace ov {
namespace {

// Two records of one id would be drawn together, always.
void check_ids(const EmbeddingPool& pool) {
  std::vector<std::pair<std::uint64_t, std::int64_t>> seen;
  for (const auto& p : pool.parts)
    for (std::int64_t i = p.begin; i < p.end; ++i)
      seen.push_back({fnv1a(pool.files[p.file].id(i)), p.first + i - p.begin});
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

// The q-quantile: the smallest cosine that at least q of all are not above. By halves of the ordered bits, so that it
// takes two passes and 65 536 counters, whatever the pool's size.
float quantile(const std::vector<float>& scores, double q) {
  const auto ordered = [](float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
  };
  auto rank =
      std::max<std::int64_t>(0, static_cast<std::int64_t>(std::ceil(q * static_cast<double>(scores.size()))) - 1);
  std::uint32_t found = 0;
  for (const int shift : {16, 0}) {
    std::vector<std::int64_t> count(1 << 16);
    for (const float x : scores)
      if (shift == 16 || ordered(x) >> 16 == found >> 16) ++count[ordered(x) >> shift & 0xffffu];
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

  // Pairs that count. What does not is -1 in `lists`; the manifest shows it all the same.
  ConceptLists nearest{k, {}};
  std::vector<float> scores;
  for (std::int64_t b = 0; b < blocks.count(); ++b) {
    const Safetensors file = Safetensors::open(blocks.path(b));
    const auto ids = file.tensor("ids").to_vector<std::int32_t>();
    const auto cosines = file.tensor("scores").to_vector<float>();
    nearest.ids.insert(nearest.ids.end(), ids.begin(), ids.end());
    scores.insert(scores.end(), cosines.begin(), cosines.end());
  }
  ConceptLists lists = nearest;
  const double floor = std::max(o.floor, o.floor_quantile > 0 ? double(quantile(scores, o.floor_quantile)) : -1.0);
  std::int64_t below_floor = 0, rare_pairs = 0, rare = 0;
  for (std::size_t i = 0; i < scores.size(); ++i)
    if (scores[i] < floor) lists.ids[i] = -1, ++below_floor;
  std::vector<std::int64_t> counts = concept_counts(lists, M);
  for (std::int32_t& c : lists.ids)
    if (c >= 0 && counts[static_cast<std::size_t>(c)] < o.min_count) c = -1, ++rare_pairs;
  for (std::int64_t& f : counts)
    if (f > 0 && f < o.min_count) f = 0, ++rare;

  std::vector<double> weights = concept_weights(lists, counts, o.weight);
  std::int64_t capped = 0, none = 0;
  for (double& w : weights) {
    if (o.cap > 0 && w > o.cap) w = o.cap, ++capped;
    none += w == 0;
  }
  const double lambda = o.weight == ConceptWeight::metaclip
                            ? metaclip_threshold(lists, counts, static_cast<double>(o.n))
                            : scale_for(weights, static_cast<double>(o.n));
  std::vector<double> probability =
      o.weight == ConceptWeight::metaclip ? metaclip_inclusion(lists, counts, lambda) : inclusion(weights, lambda);
  std::vector<double> u;
  for (const auto& p : pool.parts)
    for (std::int64_t i = p.begin; i < p.end; ++i) u.push_back(drawn_number(o.seed, pool.files[p.file].id(i)));
  double sum = 0;
  for (const double w : weights) sum += w;
  std::vector<std::int32_t> draws;
  if (o.draw == BalanceOptions::Draw::poisson) draws = draw_poisson(probability, u);
  if (o.draw == BalanceOptions::Draw::exact) draws = draw_exact(weights, u, o.n);
  if (o.draw == BalanceOptions::Draw::replacement) {
    draws = draw_with_replacement(weights, o.n, o.seed);
    for (std::size_t i = 0; i < weights.size(); ++i)  // that at least one of n draws hits it
      probability[i] = -std::expm1(static_cast<double>(o.n) * std::log1p(-weights[i] / sum));
  }

  using Kind = ParquetField::Kind;
  ParquetWriter manifest(o.out, {{"id"},
                                 {"source"},
                                 {"record", Kind::integer},
                                 list_of("concepts", Kind::integer),
                                 list_of("scores", Kind::real),
                                 {"weight", Kind::real},
                                 {"probability", Kind::real},
                                 {"u", Kind::real},
                                 {"draws", Kind::integer},
                                 {"reason"}});
  std::int64_t kept = 0, drawn = 0;
  std::vector<std::int64_t> after(static_cast<std::size_t>(M));
  for (const auto& p : pool.parts)
    for (std::int64_t row = p.begin; row < p.end; ++row) {
      const auto i = static_cast<std::size_t>(p.first + row - p.begin);
      kept += draws[i] > 0, drawn += draws[i];
      for (const std::int32_t c : lists.of(static_cast<std::int64_t>(i)))
        if (c >= 0) after[static_cast<std::size_t>(c)] += draws[i];
      if (!o.whole_pool && draws[i] == 0) continue;
      Json concepts = Json::array(), cosines = Json::array();
      for (std::size_t j = i * static_cast<std::size_t>(k); j < (i + 1) * static_cast<std::size_t>(k); ++j)
        concepts.push(std::int64_t{nearest.ids[j]}), cosines.push(double(scores[j]));
      const Embeddings& f = pool.files[p.file];
      manifest.add(Json::object({{"id", f.id(row)},
                                 {"source", f.source(row)},
                                 {"record", f.record(row)},
                                 {"concepts", std::move(concepts)},
                                 {"scores", std::move(cosines)},
                                 {"weight", weights[i]},
                                 {"probability", probability[i]},
                                 {"u", u[i]},
                                 {"draws", std::int64_t{draws[i]}},
                                 {"reason", weights[i] > 0 ? "" : "no_concept"}}));
    }
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
