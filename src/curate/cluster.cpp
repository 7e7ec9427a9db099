#include "curate/cluster.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "base/io/file.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "curate/embeddings.h"
#include "curate/kmeans.h"
#include "curate/result.h"
#include "curate/sampling.h"
#include "data/made_again.h"
#include "data/raw/drawn_records.h"
#include "data/raw/record_index.h"
#include "data/raw/regions.h"
#include "data/sample/processor.h"
#include "store/parquet/writer.h"

namespace ov {
namespace {

constexpr std::int64_t first_hierarchical = 4096, sample_of_a_centre = 64;  // rows that first centres are chosen from

std::string digest(const Tensor& t) { return sha256({reinterpret_cast<const char*>(t.bytes()), t.nbytes()}); }

template <class T>
NamedTensor named(const char* name, const std::vector<T>& values) {
  return {name, Tensor::of(values, {static_cast<std::int64_t>(values.size())})};
}

void write_block(const std::string& path, const Assignment& a, const ClusterSums& s, std::int64_t C) {
  const auto m = static_cast<std::int64_t>(s.cluster.size());
  write_safetensors(path, {named("ids", a.cluster),
                           named("distances", a.distance),
                           named("cluster", s.cluster),
                           named("count", s.count),
                           {"sum", Tensor::of(s.sum, {m, C})},
                           named("farthest", s.farthest),
                           named("distance", s.distance),
                           named("objective", std::vector<double>{s.objective})});
}

ClusterSums read_sums(const Safetensors& f) {
  return {f.tensor("cluster").to_vector<std::int32_t>(), f.tensor("count").to_vector<std::int64_t>(),
          f.tensor("sum").to_vector<double>(),           f.tensor("farthest").to_vector<std::int64_t>(),
          f.tensor("distance").to_vector<double>(),      f.tensor("objective").to_vector<double>()[0]};
}

class Clustering {
 public:
  explicit Clustering(const ClusteringOptions& o) : o_(o), pool_(o.embeddings) {
    const Embeddings& first = pool_.files.front();
    C_ = first.width();
    for (const Embeddings& f : pool_.files)
      if (f.width() != C_)
        input_error(f.path(), ": its embeddings are ", f.width(), " wide, those of ", first.path(), " ", C_,
                    "; all must come from one model");
    if (o.k > pool_.size) input_error("cluster.k is ", o.k, ", and the embeddings are ", pool_.size, " rows");
    cells_ = o.cells ? o.cells : o.k < first_hierarchical ? 1 : std::llround(std::sqrt(static_cast<double>(o.k)));
    if (cells_ > o.k) input_error("cluster.cells is ", cells_, ", more than cluster.k ", o.k);
    made_from_ = cat("cluster ", o.k, " ", cells_, " ", o.iterations, " ", o.polish, " ", o.tolerance, " ", o.seed, " ",
                     EmbeddingPool::part_rows);
    for (const Embeddings& f : pool_.files) made_from_ += cat(" ", f.made_from(), " ", f.size());
    run_.emplace(o_.out, made_from_, 0, last_written(o_.embeddings));
    pool_.sources();  // refuses two sets of one name, which the manifest could not tell apart
    if (!o_.names.empty()) named_ = std::make_unique<RegionFile>(o_.names);
    for (const Embeddings& f : pool_.files) {
      if (!named_) break;
      if (f.size() > 0) name_of(*named_, f, 0);
      const auto is_named = [&](const auto& s) { return s.second == named_->fingerprint(); };
      if (!f.fingerprints().empty() && std::none_of(f.fingerprints().begin(), f.fingerprints().end(), is_named))
        input_error(f.path(), ": was not embedded from ", o_.names,
                    " as it is now; embed that file's regions, or leave ", "cluster.names out");
    }
  }

  Json run() {
    if (!path_exists(state_path()) && path_exists(o_.out + ".centres.safetensors"))
      if (Json done = finished_report(o_.out, made_of(), *run_, o_.shard); done.is_object()) return done;
    start();
    for (;;) {
      const std::string before = stage_;
      Clusters clusters(centres_.dim(0), C_);
      if (stage_ == "inside" ? !divide() : !iterate(&clusters)) return {};
      if (stage_ == "done") {
        const Json report = finish(clusters);
        blocks("all").remove_blocks();
        ::unlink(state_path().c_str());
        run_->remove();
        return report;
      }
      save();
      remove_spent();
      if (!o_.shard.makes) {
        tell(cat("cluster: an iteration of ", before, " is joined; run the shards again, then the merge"));
        return {};
      }
    }
  }

 private:
  // --- the state between iterations: centres, J of those that are over, and which blocks are spent

  std::string state_path() const { return run_->path(0) + "-state"; }

  // Under the lock, so that no merge saves the next state meanwhile.
  void start() {
    run_->lock(o_.shard);
    if (path_exists(state_path())) {
      const Safetensors file = or_make_again(cat("remove ", parent_directory(state_path()), ", and begin again"),
                                             [&] { return Safetensors::open(state_path()); });
      stage_ = file.metadata().at("stage");
      history_ = Json::parse(file.metadata().at("history"), state_path());
      centres_ = file.tensor("centres").contiguous_copy(Segment::data);
      inside_ = file.metadata().at("inside");
      if (const auto said = file.metadata().find("spent"); said != file.metadata().end()) {
        const Json spent = Json::parse(said->second, state_path());
        for (const Json& s : spent.items()) spend(s.at("made_from").as_string(), s.at("blocks").as_int());
      }
      // A run that was killed behind save() left them. Shards are here together, so they leave them to who joins.
      if (o_.shard.joins) remove_spent();
      return;
    }
    stage_ = cells_ > 1 ? "cells" : "all";
    const std::int64_t K = cells_ > 1 ? cells_ : o_.k, n = std::min(pool_.size, sample_of_a_centre * K);
    const Permutation order(pool_.size, o_.seed, 0);
    std::vector<std::int64_t> sample;
    for (std::int64_t i = 0; i < n; ++i) sample.push_back(order(i));
    std::sort(sample.begin(), sample.end());
    centres_ = first_centres(rows(sample), K, o_.seed, 0);
  }

  void save() const {
    make_directories(parent_directory(state_path()));
    Json spent = Json::array();
    for (const auto& [made_from, blocks] : spent_)
      spent.push(Json::object({{"made_from", made_from}, {"blocks", blocks}}));
    write_safetensors(state_path(), {{"centres", centres_}},
                      {{"stage", stage_}, {"history", history_.dump()}, {"inside", inside_}, {"spent", spent.dump()}});
  }

  // Blocks that what came of them replaces: removed once that is saved.
  void spend(const std::string& made_from, std::int64_t blocks) { spent_.push_back({made_from, blocks}); }

  void remove_spent() {
    for (const auto& [made_from, blocks] : spent_) Blocks(*run_, made_from, blocks).remove_blocks();
    spent_.clear();
  }

  // --- rows of the pool by their numbers

  Tensor row(std::int64_t i) const {
    const auto above = std::upper_bound(pool_.parts.begin(), pool_.parts.end(), i,
                                        [](std::int64_t n, const auto& part) { return n < part.first; });
    const auto& p = *std::prev(above);
    const std::int64_t at = p.begin + i - p.first;
    return pool_.files[p.file].directions(at, at + 1);
  }

  Tensor rows(const std::vector<std::int64_t>& which) const {
    std::vector<Tensor> all;
    for (const std::int64_t i : which) all.push_back(row(i));
    return join_rows(all);
  }

  // --- iterations over all rows

  std::string iteration(const std::string& stage) const { return cat(made_from_, " ", stage, " ", digest(centres_)); }
  std::int64_t parts() const { return static_cast<std::int64_t>(pool_.parts.size()); }
  Blocks blocks(const std::string& stage) const { return {*run_, iteration(stage), parts()}; }

  std::int64_t iterations_of(const std::string& stage) const {
    std::int64_t n = 0;
    for (const Json& h : history_.items()) n += h.at("stage").as_string() == stage;
    return n;
  }

  // One more assignment of all rows. False: blocks are missing. The stage goes on to the next when its centres hold.
  bool iterate(Clusters* clusters) {
    const Blocks now = blocks(stage_);
    const bool join = now.make(o_.shard, cat("k-means, ", stage_, " ", iterations_of(stage_) + 1), [&](std::int64_t b) {
      const auto& part = pool_.parts[static_cast<std::size_t>(b)];
      const Tensor rows = pool_.files[part.file].directions(part.begin, part.end);
      const Assignment a = assign(rows, centres_);
      write_block(now.path(b), a, sums_of(rows, a, part.first), C_);
    });
    if (!join) return false;
    for (std::int64_t b = 0; b < now.count(); ++b) clusters->add(read_sums(now.open(b)));
    const std::int64_t number = iterations_of(stage_);
    const Json* last = number ? &history_[history_.size() - 1] : nullptr;
    const double before = last ? last->at("objective").as_double() : std::numeric_limits<double>::infinity();
    const bool stuck = last && clusters->stuck(before, last->at("empty").as_int());
    history_.push(
        Json::object({{"stage", stage_}, {"objective", clusters->objective()}, {"empty", clusters->empty()}}));
    const KmeansOptions limits{.iterations = stage_ == "all" && cells_ > 1 ? o_.polish : o_.iterations,
                               .tolerance = o_.tolerance};
    const bool done = settled(limits, number, before, clusters->objective());
    if (done && clusters->empty() == 0) {
      if (stage_ == "cells") inside_ = digest(centres_);
      stage_ = stage_ == "cells" ? "inside" : "done";
      return true;  // the blocks stay: they say which rows are whose
    }
    const Tensor from = done ? centres_.contiguous_copy(Segment::data) : clusters->means(centres_);
    const std::int64_t filled =
        clusters->empty() ? clusters->fill_empty(from, [&](std::int64_t i) { return row(i); }) : 0;
    if (done && (filled == 0 || stuck))
      input_error("cluster.k is ", o_.k, ", and the embeddings have only ", from.dim(0) - clusters->empty(),
                  " different directions", filled ? " that f32 tells apart" : "", "; choose fewer clusters");
    spend(iteration(stage_), parts());
    centres_ = from;
    // Centres that stay where they were have the blocks that are there already.
    std::erase_if(spent_, [now = iteration(stage_)](const auto& s) { return s.first == now; });
    return true;
  }

  // Every cell's own centres. False: blocks are missing.
  bool divide() {
    const std::string inside = cat(made_from_, " inside ", inside_);
    const Blocks cells = blocks("cells"), now(*run_, inside, cells_);
    std::vector<std::int64_t> counts(static_cast<std::size_t>(cells_)), members, begin;
    const auto each_id = [&](auto&& f) {
      for (std::int64_t b = 0; b < cells.count(); ++b) {
        const Safetensors file = cells.open(b);
        const Tensor ids = file.tensor("ids");
        const std::int64_t first = pool_.parts[static_cast<std::size_t>(b)].first;
        for (std::int64_t i = 0; i < ids.dim(0); ++i)
          f(first + i, static_cast<std::size_t>(ids.data<std::int32_t>()[i]));
      }
    };
    each_id([&](std::int64_t, std::size_t c) { ++counts[c]; });
    const std::vector<std::int64_t> shares = shares_of(o_.k, counts);
    const bool join = now.make(o_.shard, "k-means, inside", [&](std::int64_t cell) {
      const auto c = static_cast<std::size_t>(cell);
      if (members.empty()) {
        begin.resize(counts.size() + 1);
        std::partial_sum(counts.begin(), counts.end(), begin.begin() + 1);
        members.resize(static_cast<std::size_t>(pool_.size));
        std::vector<std::int64_t> next = begin;
        each_id([&](std::int64_t row, std::size_t of) { members[static_cast<std::size_t>(next[of]++)] = row; });
      }
      const Tensor own = rows({members.begin() + begin[c], members.begin() + begin[c + 1]});
      const Tensor found = kmeans(own, {.K = shares[c],
                                        .iterations = o_.iterations,
                                        .tolerance = o_.tolerance,
                                        .seed = o_.seed,
                                        .step = static_cast<std::uint64_t>(1 + cell)});
      write_safetensors(now.path(cell), {{"centres", found}});
    });
    if (!join) return false;
    // What a cell could not use stands as a copy of the first centre: no row is nearest to it, and it is moved.
    const Tensor all({o_.k, C_}, Dtype::f32, cpu(), Segment::data);
    std::int64_t k = 0;
    for (std::int64_t cell = 0; cell < cells_; ++cell) {
      const Tensor found = now.open(cell).tensor("centres");
      for (std::int64_t i = 0; i < found.dim(0); ++i) std::copy_n(found.row<float>(i), C_, all.row<float>(k++));
    }
    for (; k < o_.k; ++k) std::copy_n(all.row<float>(0), C_, all.row<float>(k));
    spend(iteration("cells"), parts()), spend(inside, cells_);
    centres_ = all, stage_ = "all";
    return true;
  }

  // --- the result

  // What the result is made of: clusters, and what they are compared with.
  std::string made_of() const { return made_from_ + (named_ ? " " + named_->fingerprint() : ""); }

  Json finish(const Clusters& clusters) const {
    const Blocks last = blocks("all");
    std::vector<std::int32_t> ids, names;
    using Kind = ParquetField::Kind;
    ParquetWriter manifest(o_.out,
                           {{"id"},
                            {"source"},
                            {"record", Kind::integer},
                            {"region", Kind::integer},
                            {"cluster", Kind::integer},
                            {"distance", Kind::real}},
                           {.metadata = drawn_from(pool_.sources())});
    for (std::int64_t b = 0; b < last.count(); ++b) {
      const Safetensors file = last.open(b);
      const auto own = file.tensor("ids").to_vector<std::int32_t>();
      const auto distance = file.tensor("distances").to_vector<double>();
      const auto& p = pool_.parts[static_cast<std::size_t>(b)];
      const Embeddings& f = pool_.files[p.file];
      for (std::int64_t row = p.begin; row < p.end; ++row) {
        const auto i = static_cast<std::size_t>(row - p.begin);
        Json line = Json::object({{"id", f.id(row)},
                                  {"source", f.source(row)},
                                  {"record", f.record(row)},
                                  {"cluster", std::int64_t{own[i]}},
                                  {"distance", distance[i]}});
        if (f.region(row) >= 0) line.set("region", f.region(row));
        manifest.add(line);
        if (named_) ids.push_back(own[i]), names.push_back(name_of(*named_, f, row));
      }
    }
    write_safetensors(o_.out + ".centres.safetensors", {{"centres", centres_}, named_counts(clusters)},
                      {{"made_from", sha256(made_from_)}, {"format", "pt"}});
    begin_result(o_.out);
    manifest.finish();

    std::vector<std::int64_t> sizes = clusters.counts();
    const Evenness even = evenness(sizes);
    std::sort(sizes.begin(), sizes.end());
    Json quantiles = Json::object();
    for (const double q : {0.0, 0.1, 0.5, 0.9, 0.99, 1.0})
      quantiles.set(cat(q), sizes[static_cast<std::size_t>(std::llround(q * static_cast<double>(sizes.size() - 1)))]);
    Json report = Json::object({{"onevision", "cluster"},
                                {"in", pool_.size},
                                {"out", pool_.size},
                                {"clusters", o_.k},
                                {"cells", cells_},
                                {"width", C_},
                                {"objective", clusters.objective()},
                                {"empty", clusters.empty()},
                                {"size_quantiles", quantiles},
                                {"gini", even.gini},
                                {"effective_clusters", even.effective},
                                {"iterations", history_}});
    if (named_) {
      const Agreement a = agreement(ids, names);
      report.set("names", static_cast<std::int64_t>(named_->classes().size()));
      report.set("purity", a.purity), report.set("nmi", a.nmi);
    }
    return write_report(o_.out, made_of(), report);
  }

  NamedTensor named_counts(const Clusters& clusters) const { return named("counts", clusters.counts()); }

  std::int32_t name_of(const RegionFile& file, const Embeddings& f, std::int64_t row) const {
    const std::int64_t record = f.record(row), region = f.region(row);
    if (region >= 0 && record < file.size()) {
      const auto& regions = file.read(record).regions;
      if (region < static_cast<std::int64_t>(regions.size()) &&
          !regions[static_cast<std::size_t>(region)].label.is_text())
        return static_cast<std::int32_t>(regions[static_cast<std::size_t>(region)].label.object);
    }
    input_error(f.path(), ": row ", row, " (", f.id(row), ") is no object of ", file.path(),
                "; embed that file's regions, or leave cluster.names out");
  }

  const ClusteringOptions& o_;
  const EmbeddingPool pool_;
  std::int64_t C_ = 0, cells_ = 1;
  std::string made_from_, stage_, inside_;  // inside_: the digest of the cells' centres
  Tensor centres_;
  std::unique_ptr<RegionFile> named_;                        // null: clusters are compared with nothing
  std::optional<Blocks> run_;                                // the state's place, and the lock
  std::vector<std::pair<std::string, std::int64_t>> spent_;  // blocks to be removed, made from what and how many
  Json history_ = Json::array();
};

}  // namespace

Json cluster(const ClusteringOptions& options) { return Clustering(options).run(); }

}  // namespace ov
