#include "curate/dedup.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>

#include "base/hash.h"
#include "curate/embeddings.h"
#include "curate/prints.h"
#include "curate/sources.h"
#include "kernels/nearest.h"
#include "store/parquet/writer.h"

namespace ov {
namespace {

constexpr std::int64_t block_records = 1024;

using Edges = std::vector<std::int64_t>;  // two a pair

// Rows of the pool as records: the embedding of picture r is that of record of(r).
struct Rows {
  EmbeddingPool pool;
  std::vector<std::int64_t> record;
};

Rows rows_of(const DedupOptions& o, const Json& paths, const std::vector<std::int64_t>& first) {
  Rows rows{EmbeddingPool(o.embeddings), {}};
  for (const auto& part : rows.pool.parts) {
    const Embeddings& file = rows.pool.files[part.file];
    if (file.width() != rows.pool.files[0].width())
      input_error(file.path(), ": is ", file.width(), " wide, ", rows.pool.files[0].path(), " ",
                  rows.pool.files[0].width(), "; both must come from one model");
    for (std::int64_t i = part.begin; i < part.end; ++i) {
      std::size_t s = 0;
      while (s < paths.size() && paths[s].as_string() != file.source(i)) ++s;
      if (s == paths.size() || file.record(i) < 0 || file.record(i) >= first[s + 1] - first[s])
        input_error(file.path(), ": row ", i, " is record ", file.record(i), " of '", file.source(i),
                    "', which is none of dedup.data or dedup.against");
      rows.record.push_back(first[s] + file.record(i));
    }
  }
  return rows;
}

// Pairs of a part's rows with rows of it and later parts whose cosine is high enough, as records; of pairs that others
// connect already none. Records that do not count connect nothing.
Edges near_rows(const Rows& rows, std::size_t block, std::int64_t data, const DedupOptions& o,
                const std::function<bool(std::int64_t)>& counts) {
  const auto& mine = rows.pool.parts[block];
  const Tensor a = rows.pool.files[mine.file].directions(mine.begin, mine.end);
  Edges edges;
  for (std::size_t q = block; q < rows.pool.parts.size(); ++q) {
    const auto& other = rows.pool.parts[q];
    const Tensor b = q == block ? a : rows.pool.files[other.file].directions(other.begin, other.end);
    const std::int64_t behind = q == block ? 0 : a.dim(0);  // where the other part's rows are numbered from
    Groups connected(behind + b.dim(0));
    std::vector<std::int64_t> open(static_cast<std::size_t>(a.dim(0)));  // rows whose list may be too short
    std::iota(open.begin(), open.end(), 0);
    for (std::int64_t k = std::min<std::int64_t>(16, b.dim(0)); !open.empty();
         k = std::min<std::int64_t>(4 * k, b.dim(0))) {
      const auto n = static_cast<std::int64_t>(open.size());
      const Tensor here({n, a.dim(1)}, Dtype::f32, cpu()), ids({n, k}, Dtype::i32, cpu()),
          cosines({n, k}, Dtype::f32, cpu());
      for (std::int64_t i = 0; i < n; ++i)
        std::copy_n(a.row<float>(open[static_cast<std::size_t>(i)]), a.dim(1), here.row<float>(i));
      kernels::nearest({.ids = ids, .scores = cosines, .a = here, .b = b});
      std::vector<std::int64_t> longer;
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t row = mine.first + open[static_cast<std::size_t>(i)];
        const double least = std::min(o.cosine, o.against_cosine);
        for (std::int64_t j = 0; j < k && cosines.row<float>(i)[j] >= least; ++j) {
          const std::int64_t to = other.first + ids.row<std::int32_t>(i)[j];
          const std::int64_t x = rows.record[static_cast<std::size_t>(row)],
                             y = rows.record[static_cast<std::size_t>(to)];
          const bool both_data = x < data && y < data;
          if (x == y || (x >= data && y >= data) || !counts(x) || !counts(y)) continue;
          if (cosines.row<float>(i)[j] >= (both_data ? o.cosine : o.against_cosine) &&
              connected.join(row - mine.first, behind + to - other.first))
            edges.push_back(x), edges.push_back(y);
        }
        if (k < b.dim(0) && cosines.row<float>(i)[k - 1] >= least) longer.push_back(open[static_cast<std::size_t>(i)]);
      }
      open = std::move(longer);
    }
  }
  return edges;
}

std::string hex_of(const std::uint8_t* bytes, std::size_t n) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < n; ++i) out += {digits[bytes[i] >> 4], digits[bytes[i] & 15]};
  return out;
}

// What the blocks know of every record, and how it was grouped: by digests alone, by hashes too, by all.
struct Prints {
  std::vector<std::uint8_t> digest;  // [N,32]
  std::vector<std::uint64_t> hash;
  std::vector<std::int64_t> pixels, pictures;  // pictures -1: rejected
};

}  // namespace

Json dedup(const DedupOptions& o) {
  std::vector<std::string> all = o.sources;
  all.insert(all.end(), o.against.begin(), o.against.end());
  const RecordPool pool(all, o.image_dir, block_records);
  std::vector<std::int64_t> first(all.size() + 1);  // of each source, among all records
  for (std::int64_t b = 0; b < pool.blocks(); ++b)
    first[pool.part(b).source + 1] = std::max(first[pool.part(b).source + 1], pool.part(b).end);
  std::partial_sum(first.begin(), first.end(), first.begin());
  const std::int64_t data = first[o.sources.size()];
  const Rows rows = o.embeddings.empty() ? Rows{EmbeddingPool({}), {}} : rows_of(o, pool.paths(), first);
  std::string made_from = cat("dedup 1 ", pool.made_from(), " ", o.of_bytes, " ", o.sources.size(), " ",
                              Json(o.cosine).dump(), " ", Json(o.against_cosine).dump());
  for (const Embeddings& f : rows.pool.files) made_from += cat(" ", f.made_from(), " ", f.size());

  const auto print_block = [&](std::int64_t b) {
    const auto& part = pool.part(b);
    const std::int64_t n = part.end - part.begin;
    const Tensor digest({n, 32}, Dtype::u8, cpu()), numbers({n, 3}, Dtype::i64, cpu());
    std::fill_n(numbers.data<std::int64_t>(), 3 * n, -1), std::fill_n(digest.data<std::uint8_t>(), 32 * n, 0);
    const Json rejects = pool.each(b, [&](std::int64_t i, const Conversation& record) {
      const PicturePrint print = print_of(record, o.of_bytes);
      std::copy_n(print.digest.data(), 32, digest.row<std::uint8_t>(i));
      const std::int64_t row[] = {static_cast<std::int64_t>(print.hash), print.pixels, print.pictures};
      std::copy_n(row, 3, numbers.row<std::int64_t>(i));
    });
    return std::tuple(digest, numbers, rejects);
  };
  const std::int64_t near_blocks = static_cast<std::int64_t>(rows.pool.parts.size());
  const Blocks blocks(o.out, made_from, pool.blocks() + near_blocks);
  const bool join = blocks.make(o.shard, "dedup", [&](std::int64_t b) {
    if (b < pool.blocks()) {
      const auto [digest, numbers, rejects] = print_block(b);
      write_safetensors(blocks.path(b), {{"digest", digest}, {"numbers", numbers}}, {{"rejects", rejects.dump()}});
    } else {
      const Edges edges =
          near_rows(rows, static_cast<std::size_t>(b - pool.blocks()), data, o, [](auto) { return true; });
      write_safetensors(blocks.path(b), {{"edges", Tensor::of(edges, {static_cast<std::int64_t>(edges.size())})}});
    }
  });
  if (!join) return {};

  const std::int64_t N = first.back();
  const auto at = [](const auto& list, std::int64_t i) { return list[static_cast<std::size_t>(i)]; };
  Prints r;
  RejectFile rejects(o.out, o.max_rejects);
  std::map<std::int64_t, std::string> unreadable;
  for (std::int64_t b = 0; b < pool.blocks(); ++b) {
    const Safetensors file = Safetensors::open(blocks.path(b));
    const auto digest = file.tensor("digest").to_vector<std::uint8_t>();
    r.digest.insert(r.digest.end(), digest.begin(), digest.end());
    const Tensor numbers = file.tensor("numbers");
    for (std::int64_t i = 0; i < numbers.dim(0); ++i) {
      r.hash.push_back(static_cast<std::uint64_t>(numbers.row<std::int64_t>(i)[0]));
      r.pixels.push_back(numbers.row<std::int64_t>(i)[1]), r.pictures.push_back(numbers.row<std::int64_t>(i)[2]);
    }
    const Json refused = Json::parse(file.metadata().at("rejects"), file.path());
    rejects.add(refused);
    for (const Json& one : refused.items())
      unreadable[first[pool.part(b).source] + one.at("record").as_int()] = one.at("reason").as_string();
  }
  rejects.finish(N);

  std::vector<std::int64_t> shown, single;
  for (std::int64_t i = 0; i < N; ++i) {
    if (at(r.pictures, i) > 0) shown.push_back(i);
    if (at(r.pictures, i) == 1) single.push_back(i);
  }
  const auto digest = [&](std::int64_t i) {
    return std::string_view(reinterpret_cast<const char*>(r.digest.data()) + 32 * i, 32);
  };
  std::sort(shown.begin(), shown.end(),
            [&](auto a, auto b) { return std::pair(digest(a), a) < std::pair(digest(b), b); });
  Groups exact(N);
  for (std::size_t k = 1; k < shown.size(); ++k)
    if (digest(shown[k]) == digest(shown[k - 1])) exact.join(shown[k - 1], shown[k]);
  Groups perceptual = exact;
  if (o.distance >= 0)
    near_hashes(r.hash, single, o.distance, [&](std::int64_t i, std::int64_t j) { perceptual.join(i, j); });
  Groups groups = perceptual;
  for (std::int64_t b = pool.blocks(); b < blocks.count(); ++b) {
    Edges edges = Safetensors::open(blocks.path(b)).tensor("edges").to_vector<std::int64_t>();
    // A picture that was embedded and cannot be read any more: what it alone connects, nothing does.
    if (const auto shows = [&](std::int64_t i) { return at(r.pictures, i) > 0; };
        !std::all_of(edges.begin(), edges.end(), shows))
      edges = near_rows(rows, static_cast<std::size_t>(b - pool.blocks()), data, o, shows);
    for (std::size_t e = 0; e < edges.size(); e += 2) groups.join(edges[e], edges[e + 1]);
  }

  std::vector<std::int64_t> kept(static_cast<std::size_t>(N), -1), evaluation(kept), size(static_cast<std::size_t>(N));
  for (std::int64_t i = 0; i < N; ++i) {
    const auto g = static_cast<std::size_t>(groups.find(i));
    ++size[g];
    if (i >= data) evaluation[g] = evaluation[g] < 0 ? i : evaluation[g];
    else if (kept[g] < 0 || at(r.pixels, i) > at(r.pixels, kept[g])) kept[g] = i;
  }
  const auto id = [&](std::int64_t i) {
    const auto s = static_cast<std::size_t>(std::upper_bound(first.begin(), first.end(), i) - first.begin()) - 1;
    return pool.id(s, i - first[s]);
  };
  using Kind = ParquetField::Kind;
  ParquetWriter manifest(o.out, {{"id"},
                                 {"source"},
                                 {"record", Kind::integer},
                                 {"draws", Kind::integer},
                                 {"reason"},
                                 {"kept"},
                                 {"digest"},
                                 {"hash"},
                                 {"pixels", Kind::integer}});
  std::map<std::string, std::int64_t> why;
  std::map<std::string, Json> examples;
  std::int64_t out = 0, largest = 0, several = 0;
  const Json paths = pool.paths();
  for (std::int64_t i = 0; i < data; ++i) {
    const auto g = static_cast<std::size_t>(groups.find(i));
    const std::int64_t stands = evaluation[g] >= 0 ? evaluation[g] : kept[g];
    std::string reason;
    if (const auto bad = unreadable.find(i); bad != unreadable.end()) reason = bad->second;
    else if (evaluation[g] >= 0) reason = "evaluation";
    else if (stands == i) reason = "";
    else if (exact.find(i) == exact.find(stands)) reason = "exact";
    else reason = perceptual.find(i) == perceptual.find(stands) ? "perceptual" : "embedding";
    const auto s = static_cast<std::size_t>(std::upper_bound(first.begin(), first.end(), i) - first.begin()) - 1;
    const std::uint64_t hash = at(r.hash, i);
    manifest.add(Json::object({{"id", id(i)},
                               {"source", paths[s].as_string()},
                               {"record", i - first[s]},
                               {"draws", std::int64_t{reason.empty()}},
                               {"reason", reason},
                               {"kept", stands == i ? "" : id(stands)},
                               {"digest", hex_of(r.digest.data() + 32 * i, 32)},
                               {"hash", hex16(hash)},
                               {"pixels", std::max<std::int64_t>(at(r.pixels, i), 0)}}));
    if (kept[g] == i) largest = std::max(largest, size[g]), several += size[g] > 1;
    if (reason.empty()) {
      ++out;
      continue;
    }
    ++why[reason];
    Json& list = examples.try_emplace(reason, Json::array()).first->second;
    if (list.size() < 5) list.push(Json::object({{"id", id(i)}, {"kept", stands == i ? "" : id(stands)}}));
  }
  manifest.finish();
  Json reasons = Json::object(), shows = Json::object();
  for (const auto& [reason, n] : why) reasons.set(reason, n);
  for (const auto& [reason, list] : examples) shows.set(reason, list);
  const std::int64_t without = std::count(r.pictures.begin(), r.pictures.begin() + data, 0);
  const Json report = Json::object({{"onevision", "dedup"},
                                    {"in", data},
                                    {"out", out},
                                    {"why", reasons},
                                    {"evaluation_records", N - data},
                                    {"without_picture", without},
                                    {"groups_of_several", several},
                                    {"largest_group", largest},
                                    {"embedded", rows.pool.size},
                                    {"examples", shows}});
  write_durably(o.out + ".report.json", report.dump(2) + "\n");
  blocks.remove();
  return report;
}

}  // namespace ov
