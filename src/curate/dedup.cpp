#include "curate/dedup.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>

#include "base/hash.h"
#include "base/progress.h"
#include "base/text.h"
#include "curate/near_rows.h"
#include "curate/prints.h"
#include "curate/random_pairs.h"
#include "curate/result.h"
#include "curate/share_counts.h"
#include "curate/sources.h"
#include "data/raw/drawn_records.h"
#include "data/raw/record_index.h"
#include "store/parquet/writer.h"

namespace ov {
namespace {

constexpr std::int64_t block_records = 1024;

std::string hex_of(const std::uint8_t* bytes, std::size_t n) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < n; ++i) out += {digits[bytes[i] >> 4], digits[bytes[i] & 15]};
  return out;
}

// What the blocks know of every record.
struct Prints {
  std::vector<std::uint8_t> digest;  // [N,32]
  std::vector<std::uint64_t> hash;
  std::vector<std::int64_t> pixels, pictures;      // pictures -1: rejected
  std::map<std::int64_t, std::string> unreadable;  // record, reason

  bool shows(std::int64_t i) const { return pictures[static_cast<std::size_t>(i)] > 0; }
  std::string_view digest_of(std::int64_t i) const {
    return {reinterpret_cast<const char*>(digest.data()) + 32 * i, 32};
  }
};

// Who is the same as whom: by digests alone, by hashes too, by all.
struct Grouping {
  Groups exact, perceptual, all;
};

class Dedup {
 public:
  explicit Dedup(const DedupOptions& options);
  bool make_blocks();  // false: other shards have blocks to make
  void read_prints();
  void group();
  void choose();
  void write_manifest();
  Json finish();
  Json finished() const { return finished_report(o_.out, made_from_, blocks_, o_.shard, o_.max_rejects); }

 private:
  std::int64_t data() const { return first_[o_.sources.size()]; }  // records behind them are an evaluation's
  std::size_t source_of(std::int64_t record) const {
    return static_cast<std::size_t>(std::upper_bound(first_.begin(), first_.end(), record) - first_.begin()) - 1;
  }
  std::string id(std::int64_t record) const {
    const std::size_t s = source_of(record);
    return pool_.id(s, record - first_[s]);
  }
  NearLimits limits() const { return {data(), o_.cosine, o_.against_cosine}; }
  void print_block(std::int64_t block) const;
  std::string reason_of(std::int64_t record, std::int64_t stands) const;

  const DedupOptions& o_;
  const RecordPool pool_;
  const std::vector<std::int64_t> first_;  // of each source, among all records
  const EmbeddedRecords rows_;
  std::string made_from_;
  const Blocks blocks_;
  Prints prints_;
  std::optional<Grouping> groups_;
  std::vector<std::int64_t> kept_, evaluation_, size_;  // by group: its record that stays, its first of an evaluation
  std::map<std::string, std::int64_t> why_;
  std::map<std::string, Json> examples_;
  std::int64_t out_ = 0, largest_ = 0, several_ = 0, refused_ = 0;
  std::optional<RandomPairs> random_;
};

std::vector<std::string> all_sources(const DedupOptions& o) {
  std::vector<std::string> all = o.sources;
  all.insert(all.end(), o.against.begin(), o.against.end());
  return all;
}

std::vector<std::int64_t> first_records(const RecordPool& pool, std::size_t sources) {
  std::vector<std::int64_t> first(sources + 1);
  for (std::int64_t b = 0; b < pool.blocks(); ++b)
    first[pool.part(b).source + 1] = std::max(first[pool.part(b).source + 1], pool.part(b).end);
  std::partial_sum(first.begin(), first.end(), first.begin());
  return first;
}

std::string made_from(const DedupOptions& o, const RecordPool& pool, const EmbeddedRecords& rows) {
  std::string text = cat("dedup 1 ", pool.made_from(), " ", o.of_bytes, " ", o.sources.size(), " ",
                         Json(o.cosine).dump(), " ", Json(o.against_cosine).dump());
  for (const Embeddings& f : rows.pool.files) text += cat(" ", f.made_from(), " ", f.size());
  return text;
}

Dedup::Dedup(const DedupOptions& options)
    : o_(options),
      pool_(all_sources(options), options.image_dir, block_records),
      first_(first_records(pool_, options.sources.size() + options.against.size())),
      rows_(options.embeddings.empty() ? EmbeddedRecords{EmbeddingPool({}), {}}
                                       : rows_of(options.embeddings, pool_, first_)),
      made_from_(made_from(options, pool_, rows_)),
      blocks_(options.out, made_from_, pool_.blocks() + std::ssize(rows_.pool.parts),
              std::max(pool_.written(), last_written(options.embeddings))) {
  pool_.require_pictures(false);             // texts among pictures are kept
  made_from_ += cat(" ", options.distance);  // of what is joined
}

void Dedup::print_block(std::int64_t b) const {
  const auto& part = pool_.part(b);
  const std::int64_t n = part.end - part.begin;
  const Tensor digest({n, 32}, Dtype::u8, cpu()), numbers({n, 3}, Dtype::i64, cpu());
  std::fill_n(numbers.data<std::int64_t>(), 3 * n, -1), std::fill_n(digest.data<std::uint8_t>(), 32 * n, 0);
  const Json rejects = pool_.each(b, [&](std::int64_t i, const Conversation& record) {
    const PicturePrint print = print_of(record, o_.of_bytes);
    std::copy_n(print.digest.data(), 32, digest.row<std::uint8_t>(i));
    const std::int64_t row[] = {static_cast<std::int64_t>(print.hash), print.pixels, print.pictures};
    std::copy_n(row, 3, numbers.row<std::int64_t>(i));
  });
  write_safetensors(blocks_.path(b), {{"digest", digest}, {"numbers", numbers}}, {{"rejects", rejects.dump()}});
}

// The first blocks are of records, those behind them of embeddings.
bool Dedup::make_blocks() {
  const auto make = [&](std::int64_t b) {
    if (b < pool_.blocks()) return print_block(b);
    const Edges edges =
        near_rows(rows_, static_cast<std::size_t>(b - pool_.blocks()), limits(), [](auto) { return true; });
    write_safetensors(blocks_.path(b), {{"edges", Tensor::of(edges, {std::ssize(edges)})}});
  };
  ShareCounts counts("dedup", o_.shard, o_.out, o_.max_rejects);
  const bool join = blocks_.make(o_.shard, "dedup", make, [&](std::int64_t b) {
    if (b >= pool_.blocks()) return;
    const Safetensors file = blocks_.open(b);
    const Json rejects = Json::parse(file.metadata().at("rejects"), file.path());
    const std::int64_t records = file.find("numbers")->shape[0];
    counts.add(records, records - static_cast<std::int64_t>(rejects.size()), rejects);
  });
  counts.finish();
  return join;
}

void Dedup::read_prints() {
  RejectFile rejects(o_.out, o_.max_rejects);
  for (std::int64_t b = 0; b < pool_.blocks(); ++b) {
    const Safetensors file = blocks_.open(b);
    const auto digest = file.tensor("digest").to_vector<std::uint8_t>();
    prints_.digest.insert(prints_.digest.end(), digest.begin(), digest.end());
    const Tensor numbers = file.tensor("numbers");
    for (std::int64_t i = 0; i < numbers.dim(0); ++i) {
      const std::int64_t* row = numbers.row<std::int64_t>(i);
      prints_.hash.push_back(static_cast<std::uint64_t>(row[0]));
      prints_.pixels.push_back(row[1]), prints_.pictures.push_back(row[2]);
    }
    const Json refused = Json::parse(file.metadata().at("rejects"), file.path());
    rejects.add(refused);
    for (const Json& one : refused.items())
      prints_.unreadable[first_[pool_.part(b).source] + one.at("record").as_int()] = one.at("reason").as_string();
  }
  rejects.finish(first_.back());
  refused_ = rejects.total();
  // Compared with nothing, every picture of an evaluation would count as one that is not in it.
  for (std::size_t s = o_.sources.size(); s + 1 < first_.size(); ++s)
    if (first_[s] < first_[s + 1] &&
        std::all_of(prints_.pictures.begin() + first_[s], prints_.pictures.begin() + first_[s + 1],
                    [](std::int64_t pictures) { return pictures < 1; }))
      input_error(pool_.paths()[s], ": none of its ", first_[s + 1] - first_[s],
                  " records has a picture that can be read, so nothing could be left out for it; ", o_.out,
                  ".rejects.jsonl says why");
}

void Dedup::group() {
  const std::int64_t N = first_.back();
  const Prints& r = prints_;
  std::vector<std::int64_t> shown, single;
  for (std::int64_t i = 0; i < N; ++i) {
    if (r.shows(i)) shown.push_back(i);
    if (r.pictures[static_cast<std::size_t>(i)] == 1) single.push_back(i);
  }
  std::sort(shown.begin(), shown.end(),
            [&](auto a, auto b) { return std::pair(r.digest_of(a), a) < std::pair(r.digest_of(b), b); });
  Groups exact(N);
  for (std::size_t k = 1; k < shown.size(); ++k)
    if (r.digest_of(shown[k]) == r.digest_of(shown[k - 1])) exact.join(shown[k - 1], shown[k]);
  Groups perceptual = exact;
  if (o_.distance >= 0)
    near_hashes(r.hash, single, o_.distance, [&](std::int64_t i, std::int64_t j) { perceptual.join(i, j); });
  Groups all = perceptual;
  const auto shows = [&](std::int64_t i) { return r.shows(i); };
  for (std::int64_t b = pool_.blocks(); b < blocks_.count(); ++b) {
    Edges edges = blocks_.open(b).tensor("edges").to_vector<std::int64_t>();
    // A picture that was embedded and cannot be read any more: what it alone connects, nothing does.
    if (!std::all_of(edges.begin(), edges.end(), shows))
      edges = near_rows(rows_, static_cast<std::size_t>(b - pool_.blocks()), limits(), shows);
    for (std::size_t e = 0; e < edges.size(); e += 2) all.join(edges[e], edges[e + 1]);
  }
  if (!o_.embeddings.empty())
    random_ = random_pairs(rows_.pool, {o_.cosine, o_.against.empty() ? o_.cosine : o_.against_cosine},
                           [&](std::int64_t a, std::int64_t b) {
                             const auto x = rows_.record[static_cast<std::size_t>(a)],
                                        y = rows_.record[static_cast<std::size_t>(b)];
                             return perceptual.find(x) != perceptual.find(y);
                           });
  groups_ = Grouping{std::move(exact), std::move(perceptual), std::move(all)};
}

// Of each group: which record stays, and whether an evaluation asks about it.
void Dedup::choose() {
  const auto N = static_cast<std::size_t>(first_.back());
  kept_.assign(N, -1), evaluation_.assign(N, -1), size_.assign(N, 0);
  const auto pixels = [&](std::int64_t i) { return prints_.pixels[static_cast<std::size_t>(i)]; };
  for (std::int64_t i = 0; i < first_.back(); ++i) {
    const auto g = static_cast<std::size_t>(groups_->all.find(i));
    ++size_[g];
    if (i >= data()) evaluation_[g] = evaluation_[g] < 0 ? i : evaluation_[g];
    else if (kept_[g] < 0 || pixels(i) > pixels(kept_[g])) kept_[g] = i;
  }
}

// Why a record is left out, where `stands` stands for it; "": it stays.
std::string Dedup::reason_of(std::int64_t i, std::int64_t stands) const {
  if (const auto bad = prints_.unreadable.find(i); bad != prints_.unreadable.end()) return bad->second;
  if (stands >= data()) return "evaluation";
  if (stands == i) return "";
  if (groups_->exact.find(i) == groups_->exact.find(stands)) return "exact";
  return groups_->perceptual.find(i) == groups_->perceptual.find(stands) ? "perceptual" : "embedding";
}

void Dedup::write_manifest() {
  using Kind = ParquetField::Kind;
  const Json names = pool_.names(), fingerprints = pool_.fingerprints();
  std::vector<std::pair<std::string, std::string>> sources;
  for (std::size_t s = 0; s < names.size(); ++s)
    sources.emplace_back(names[s].as_string(), fingerprints[s].as_string());
  auto metadata = drawn_from(sources);
  if (random_) metadata.emplace_back("onevision.random_pairs", random_->json().dump());
  ParquetWriter manifest(o_.out,
                         {{"id"},
                          {"source"},
                          {"record", Kind::integer},
                          {"draws", Kind::integer},
                          {"reason"},
                          {"kept"},
                          {"digest"},
                          {"hash"},
                          {"pixels", Kind::integer}},
                         {.metadata = metadata});
  for (std::int64_t i = 0; i < data(); ++i) {
    const auto g = static_cast<std::size_t>(groups_->all.find(i));
    const std::int64_t stands = evaluation_[g] >= 0 ? evaluation_[g] : kept_[g];
    const std::string reason = reason_of(i, stands), other = stands == i ? "" : id(stands);
    const std::size_t s = source_of(i);
    manifest.add(Json::object({{"id", id(i)},
                               {"source", names[s].as_string()},
                               {"record", i - first_[s]},
                               {"draws", std::int64_t{reason.empty()}},
                               {"reason", reason},
                               {"kept", other},
                               {"digest", hex_of(prints_.digest.data() + 32 * i, 32)},
                               {"hash", hex16(prints_.hash[static_cast<std::size_t>(i)])},
                               {"pixels", std::max<std::int64_t>(prints_.pixels[static_cast<std::size_t>(i)], 0)}}));
    if (kept_[g] == i) largest_ = std::max(largest_, size_[g]), several_ += size_[g] > 1;
    if (reason.empty()) {
      ++out_;
      continue;
    }
    ++why_[reason];
    Json& list = examples_.try_emplace(reason, Json::array()).first->second;
    if (list.size() < 5) list.push(Json::object({{"id", id(i)}, {"kept", other}}));
  }
  if (out_ == 0 && data() > 0) {
    std::string first;
    for (const auto& [reason, n] : why_)
      first += cat(first.empty() ? "" : "; ", reason, " ", n, ", the first: ", shown(examples_.at(reason)[0].dump()));
    if (const std::string weak = random_ ? random_->warning(why_["embedding"], data()) : ""; !weak.empty())
      first += "; " + weak;
    input_error(o_.out, ": none of ", data(), " records is kept: ", first);
  }
  begin_result(o_.out);
  manifest.finish();
}

Json Dedup::finish() {
  Json reasons = Json::object(), shows = Json::object();
  for (const auto& [reason, n] : why_) reasons.set(reason, n);
  for (const auto& [reason, list] : examples_) shows.set(reason, list);
  const std::int64_t without = std::count(prints_.pictures.begin(), prints_.pictures.begin() + data(), 0);
  Json report = Json::object({{"onevision", "dedup"},
                              {"in", data()},
                              {"out", out_},
                              {"why", reasons},
                              {"evaluation_records", first_.back() - data()},
                              {"without_picture", without},
                              {"groups_of_several", several_},
                              {"largest_group", largest_},
                              {"embedded", rows_.pool.size},
                              {"examples", shows}});
  report.set("refused", refused_);
  if (random_) {
    const std::string warning = random_->warning(why_["embedding"], data());
    report.set("random_pairs", random_->json());
    if (!warning.empty()) report.set("warning", warning), tell("dedup: " + warning);
    else tell("dedup: " + random_->str());
  }
  const Json written = write_report(o_.out, made_from_, report);
  blocks_.remove();
  return written;
}

}  // namespace

Json dedup(const DedupOptions& options) {
  Dedup run(options);
  if (Json done = run.finished(); done.is_object()) return done;
  if (!run.make_blocks()) return {};
  run.read_prints();
  run.group();
  run.choose();
  run.write_manifest();
  return run.finish();
}

}  // namespace ov
