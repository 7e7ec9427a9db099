#include "curate/near_rows.h"

#include <algorithm>
#include <numeric>

#include "curate/prints.h"
#include "kernels/nearest.h"

namespace ov {

EmbeddedRecords rows_of(const std::vector<std::string>& files, const RecordPool& pool,
                        const std::vector<std::int64_t>& first) {
  const Json names = pool.names();
  EmbeddedRecords rows{EmbeddingPool(files), {}};
  const Json now = pool.fingerprints();
  for (const auto& [source, then] : rows.pool.sources())
    for (std::size_t s = 0; s < names.size(); ++s)
      if (names[s].as_string() == source && now[s].as_string() != then)
        input_error(pool.paths()[s], ": is another ", source, " than dedup.embeddings were made of; embed it again");
  for (const auto& part : rows.pool.parts) {
    const Embeddings& file = rows.pool.files[part.file];
    if (file.width() != rows.pool.files[0].width())
      input_error(file.path(), ": is ", file.width(), " wide, ", rows.pool.files[0].path(), " ",
                  rows.pool.files[0].width(), "; both must come from one model");
    for (std::int64_t i = part.begin; i < part.end; ++i) {
      std::size_t s = 0;
      const std::string source = file.source(i);  // of a file that was made before names, the path
      while (s < names.size() && names[s].as_string() != source && pool.paths()[s] != source) ++s;
      if (s == names.size() || file.record(i) < 0 || file.record(i) >= first[s + 1] - first[s])
        input_error(file.path(), ": row ", i, " is record ", file.record(i), " of '", source,
                    "', which is none of dedup.data or dedup.against");
      rows.record.push_back(first[s] + file.record(i));
    }
  }
  return rows;
}

Edges near_rows(const EmbeddedRecords& rows, std::size_t block, const NearLimits& o,
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
          const bool both_data = x < o.data && y < o.data;
          if (x == y || (x >= o.data && y >= o.data) || !counts(x) || !counts(y)) continue;
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

}  // namespace ov
