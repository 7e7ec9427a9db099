#include "curate/balance.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>

#include "base/hash.h"
#include "base/progress.h"
#include "base/sha256.h"
#include "curate/drawn_rows.h"
#include "curate/embeddings.h"
#include "curate/result.h"
#include "data/raw/drawn_records.h"
#include "data/raw/record_index.h"
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

// One run: each step is a pass over the blocks, in the pool's order, that holds what belongs to concepts alone.
class Balance {
 public:
  explicit Balance(const BalanceOptions& options);
  bool find_nearest();  // false: other shards have blocks to make
  void count();
  void weigh();
  void write_manifest();
  Json finish();
  Json finished() const { return finished_report(o_.out, made_of(), blocks_, o_.shard); }

 private:
  using Ids = std::span<const std::int32_t>;
  using Scores = std::span<const float>;
  using Draw = BalanceOptions::Draw;

  template <class F>  // f(part, row of it, its k nearest, their cosines)
  void each(F&& f) const {
    for (std::int64_t b = 0; b < blocks_.count(); ++b) {
      const Safetensors file = blocks_.open(b);
      const Tensor ids = file.tensor("ids"), scores = file.tensor("scores");
      const auto& part = pool_.parts[static_cast<std::size_t>(b)];
      const auto width = static_cast<std::size_t>(o_.k);
      for (std::int64_t i = 0; i < part.end - part.begin; ++i)
        if (takes_part(part.first + i))
          f(part, i, Ids(ids.row<std::int32_t>(i), width), Scores(scores.row<float>(i), width));
    }
  }
  bool takes_part(std::int64_t row) const { return within_.empty() || within_[static_cast<std::size_t>(row)]; }
  // The concepts of a picture that count; -1: one that does not, which the manifest shows all the same.
  Ids counted(Ids ids, Scores scores) {
    for (std::size_t j = 0; j < list_.size(); ++j)
      list_[j] = scores[j] < floor_ || counts_[static_cast<std::size_t>(ids[j])] == 0 ? -1 : ids[j];
    return list_;
  }
  double weight_of(Ids own) const {
    const double w = concept_weight(own, counts_, o_.weight);
    return o_.cap > 0 ? std::min(w, o_.cap) : w;
  }
  bool metaclip() const { return o_.weight == ConceptWeight::metaclip; }
  double scale();  // λ of sampling.h
  // What the manifest is made of: the nearest concepts, and how pictures are drawn by them.
  std::string made_of() const {
    return cat(made_from_, " ", o_.n, " ", int(o_.draw), " ", int(o_.weight), " ", o_.seed, " ", Json(o_.floor).dump(),
               " ", Json(o_.floor_quantile).dump(), " ", Json(o_.cap).dump(), " ", o_.min_count, " ", o_.whole_pool,
               o_.within.empty() ? "" : " " + sha256_file(o_.within));
  }
  Smallest first_arrivals();
  double probability(Ids own, double weight) const;

  const BalanceOptions& o_;
  const EmbeddingPool pool_;
  const Embeddings vocabulary_;
  const std::string made_from_;
  const Blocks blocks_;
  const std::vector<bool> within_;  // [pool] what options.within draws; empty: all
  const std::int64_t pictures_;     // that take part
  std::vector<std::int32_t> list_;
  double floor_ = -1, sum_ = 0, lambda_ = 0;
  std::vector<std::int64_t> counts_, after_;  // of each concept: pairs of the pool, and of what was drawn
  std::int64_t below_floor_ = 0, rare_pairs_ = 0, rare_ = 0, capped_ = 0, none_ = 0, kept_ = 0, drawn_ = 0;
};

constexpr std::int64_t most_repeated = std::int64_t{1} << 32;

void check_options(const BalanceOptions& o, const EmbeddingPool& pool, const Embeddings& vocabulary) {
  for (const Embeddings& f : pool.files)
    if (f.width() != vocabulary.width())
      input_error(f.path(), ": its embeddings are ", f.width(), " wide, those of ", o.concepts, " ", vocabulary.width(),
                  "; both must come from one model");
  for (const Embeddings& f : pool.files) {
    if (f.kind() == "concepts") input_error(f.path(), ": holds concepts, and balance.pictures wants pictures");
    if (!f.model().empty() && !vocabulary.model().empty() && f.model() != vocabulary.model())
      input_error(f.path(), ": was made by another CLIP than ", o.concepts, "; their directions cannot be compared");
  }
  if (vocabulary.kind() == "pictures") input_error(o.concepts, ": holds pictures, and balance.concepts wants concepts");
  if (o.k > vocabulary.size())
    input_error("balance.k is ", o.k, ", and ", o.concepts, " holds ", vocabulary.size(), " concepts");
  if (o.draw == BalanceOptions::Draw::replacement && o.n > most_repeated)
    input_error("balance.n is ", o.n, ": with balance.draw replacement at most ", most_repeated, " draws, of 8 bytes");
  if (o.weight == ConceptWeight::metaclip && o.draw != BalanceOptions::Draw::poisson)
    input_error("balance.weight metaclip is a probability, not a weight: it goes with balance.draw poisson alone");
  if (o.weight == ConceptWeight::metaclip && o.cap > 0)
    input_error("balance.cap has no effect with balance.weight metaclip, whose threshold is a cap already");
}

std::string made_from(const BalanceOptions& o, const EmbeddingPool& pool, const Embeddings& vocabulary) {
  check_options(o, pool, vocabulary);
  std::string text = cat("nearest ", o.k, " ", EmbeddingPool::part_rows, " ", vocabulary.made_from());
  for (const Embeddings& f : pool.files) text += cat(" ", f.made_from(), " ", f.size());
  return text;
}

std::vector<std::string> all_files(const BalanceOptions& o) {
  std::vector<std::string> files = o.pictures;
  files.push_back(o.concepts);
  return files;
}

Balance::Balance(const BalanceOptions& options)
    : o_(options),
      pool_(options.pictures),
      vocabulary_(Embeddings::open(options.concepts)),
      made_from_(made_from(options, pool_, vocabulary_)),
      blocks_(options.out, made_from_, std::ssize(pool_.parts), last_written(all_files(options))),
      within_(options.within.empty() ? std::vector<bool>() : drawn_rows(pool_, options.within)),
      pictures_(within_.empty() ? pool_.size : std::count(within_.begin(), within_.end(), true)),
      list_(static_cast<std::size_t>(options.k)),
      counts_(static_cast<std::size_t>(vocabulary_.size())),
      after_(counts_) {}

bool Balance::find_nearest() {
  Tensor directions;
  const bool join = blocks_.make(o_.shard, "nearest concepts", [&](std::int64_t b) {
    if (!directions) directions = vocabulary_.directions(0, vocabulary_.size());
    const auto& part = pool_.parts[static_cast<std::size_t>(b)];
    const std::int64_t n = part.end - part.begin;
    const Tensor ids({n, o_.k}, Dtype::i32, cpu()), scores({n, o_.k}, Dtype::f32, cpu());
    kernels::nearest(
        {.ids = ids, .scores = scores, .a = pool_.files[part.file].directions(part.begin, part.end), .b = directions});
    write_safetensors(blocks_.path(b), {{"ids", ids}, {"scores", scores}});
  });
  if (join) check_ids(pool_);
  return join;
}

void Balance::count() {
  const auto each_score = [&](const std::function<void(float)>& f) {
    each([&](const auto&, std::int64_t, Ids, Scores scores) {
      for (const float s : scores) f(s);
    });
  };
  floor_ = std::max(o_.floor,
                    o_.floor_quantile > 0 ? double(quantile(each_score, pictures_ * o_.k, o_.floor_quantile)) : -1.0);
  each([&](const auto&, std::int64_t, Ids ids, Scores scores) {
    for (std::size_t j = 0; j < ids.size(); ++j)
      if (scores[j] < floor_) ++below_floor_;
      else ++counts_[static_cast<std::size_t>(ids[j])];
  });
  for (std::int64_t& f : counts_)
    if (f > 0 && f < o_.min_count) rare_pairs_ += f, f = 0, ++rare_;
}

void Balance::weigh() {
  each([&](const auto&, std::int64_t, Ids ids, Scores scores) {
    const double w = concept_weight(counted(ids, scores), counts_, o_.weight);
    capped_ += o_.cap > 0 && w > o_.cap, none_ += w == 0;
    sum_ += o_.cap > 0 ? std::min(w, o_.cap) : w;
  });
  const std::int64_t left = pictures_ - none_;
  const char* why = none_ ? ", since others have no concept that counts" : "";
  if (o_.draw == Draw::exact && o_.n > left)
    input_error("balance.n is ", o_.n, ", and balance.draw exact can draw ", left, " of ", pictures_, " pictures", why);
  if (o_.draw == Draw::poisson && o_.n > left)
    tell(cat("balance.n is ", o_.n, ": at most ", left, " of ", pictures_, " pictures can be drawn", why));
  lambda_ = scale();
}

double Balance::scale() {
  const double n = static_cast<double>(o_.n);
  if (metaclip()) {
    const auto expected = [&](double t) {
      double pictures = 0;
      each([&](const auto&, std::int64_t, Ids ids, Scores scores) {
        pictures += metaclip_probability(counted(ids, scores), counts_, t);
      });
      return pictures;
    };
    return metaclip_threshold(expected, counts_, n);
  }
  const EachNumber weights = [&](const std::function<void(double)>& f) {
    each([&](const auto&, std::int64_t, Ids ids, Scores scores) { f(weight_of(counted(ids, scores))); });
  };
  return scale_for(weights, n);
}

// That a picture is drawn at all.
double Balance::probability(Ids own, double weight) const {
  if (metaclip()) return metaclip_probability(own, counts_, lambda_);
  if (o_.draw == Draw::replacement)  // that at least one of n draws hits it
    return -std::expm1(static_cast<double>(o_.n) * std::log1p(-weight / sum_));
  return weight > 0 ? std::min(1.0, lambda_ * weight) : 0;
}

Smallest Balance::first_arrivals() {
  if (o_.draw != Draw::exact) return {};
  const EachNumber waits = [&](const std::function<void(double)>& f) {
    each([&](const auto& p, std::int64_t i, Ids ids, Scores scores) {
      f(waiting_time(weight_of(counted(ids, scores)), drawn_number(o_.seed, pool_.files[p.file].id(p.begin + i))));
    });
  };
  return smallest(waits, o_.n);
}

void Balance::write_manifest() {
  Smallest first = first_arrivals();
  std::int64_t seen = 0;
  ReplacementDraws repeated(o_.draw == Draw::replacement ? o_.n : 0, sum_, o_.seed);
  using Kind = ParquetField::Kind;
  ParquetWriter manifest(o_.out,
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
                         {.group_rows = EmbeddingPool::part_rows, .metadata = drawn_from(pool_.sources())});
  each([&](const auto& p, std::int64_t i, Ids ids, Scores scores) {
    const Embeddings& f = pool_.files[p.file];
    const std::int64_t row = p.begin + i;
    const Ids own = counted(ids, scores);
    const double w = weight_of(own), u = drawn_number(o_.seed, f.id(row)), likely = probability(own, w);
    std::int64_t draws = u < likely;
    if (o_.draw == Draw::exact) {
      const double wait = waiting_time(w, u);
      draws = wait < first.below || (wait == first.below && first.ties-- > 0);
    }
    if (o_.draw == Draw::replacement) draws = repeated.next(w, ++seen == pictures_);
    if (draws > most_draws)
      input_error("balance.n is ", o_.n, ": ", f.id(row), " would be drawn ", draws, " times, at most ", most_draws,
                  " can be trained on; draw fewer, or from a larger pool");
    kept_ += draws > 0, drawn_ += draws;
    for (const std::int32_t c : own)
      if (c >= 0) after_[static_cast<std::size_t>(c)] += draws;
    if (!o_.whole_pool && draws == 0) return;
    Json concepts = Json::array(), cosines = Json::array();
    for (std::size_t j = 0; j < ids.size(); ++j) concepts.push(std::int64_t{ids[j]}), cosines.push(double(scores[j]));
    manifest.add(Json::object({{"id", f.id(row)},
                               {"source", f.source(row)},
                               {"record", f.record(row)},
                               {"concepts", std::move(concepts)},
                               {"scores", std::move(cosines)},
                               {"weight", w},
                               {"probability", likely},
                               {"u", u},
                               {"draws", draws},
                               {"reason", w > 0 ? "" : "no_concept"}}));
  });
  if (kept_ == 0)
    input_error(o_.out, ": none of ", pictures_, " pictures is drawn: ", none_, " have no concept that counts (",
                below_floor_, " pairs are below the floor ", floor_, ", ", rare_pairs_,
                " of concepts of fewer than balance.min_count pictures), and balance.n is ", o_.n);
  begin_result(o_.out);
  manifest.finish();
}

Json Balance::finish() {
  Json report = Json::object({{"onevision", "balance"},
                              {"in", pool_.size},
                              {"out", kept_},
                              {"draws", drawn_},
                              {"not_drawn", pictures_ - kept_ - none_},
                              {"left_out", pool_.size - pictures_},
                              {"no_concept", none_},
                              {"n", o_.n},
                              {"k", o_.k},
                              {"concepts", vocabulary_.size()},
                              {"weights_sum", sum_},
                              {"scale", std::isfinite(lambda_) ? Json(lambda_) : Json()},
                              {"floor", floor_},
                              {"pairs_below_floor", below_floor_},
                              {"rare_concepts", rare_},
                              {"pairs_of_rare_concepts", rare_pairs_},
                              {"capped_weights", capped_},
                              {"pool", described(counts_)},
                              {"drawn", described(after_)}});
  const Json written = write_report(o_.out, made_of(), report);
  blocks_.remove();
  return written;
}

}  // namespace

Json balance(const BalanceOptions& options) {
  Balance run(options);
  if (Json done = run.finished(); done.is_object()) return done;
  if (!run.find_nearest()) return {};
  run.count();
  run.weigh();
  run.write_manifest();
  return run.finish();
}

}  // namespace ov
