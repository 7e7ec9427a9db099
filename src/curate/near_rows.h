// Embeddings of records, and which of them are near to each other.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "curate/embeddings.h"
#include "curate/sources.h"

namespace ov {

using Edges = std::vector<std::int64_t>;  // two a pair

// Rows of embeddings as records of a pool: row r is that of record[r], counted over all sources.
struct EmbeddedRecords {
  EmbeddingPool pool;
  std::vector<std::int64_t> record;
};

// `first`: of each source its first record among all. input_error: widths that differ, a row of no record.
EmbeddedRecords rows_of(const std::vector<std::string>& files, const RecordPool& pool,
                        const std::vector<std::int64_t>& first);

struct NearLimits {
  std::int64_t data = 0;  // records behind them are an evaluation's
  double cosine = 1, against_cosine = 1;
};

// Pairs of a part's rows with rows of it and later parts whose cosine is high enough, as records; of pairs that others
// connect already none. Records that do not count connect nothing.
Edges near_rows(const EmbeddedRecords& rows, std::size_t block, const NearLimits& limits,
                const std::function<bool(std::int64_t)>& counts);

}  // namespace ov
