// Which rows of a pool of embedded pictures a manifest draws: what `dedup` keeps is what `balance` draws from.
#pragma once
#include <string>
#include <vector>

#include "curate/embeddings.h"

namespace ov {

// [pool.size], of Parquet rows with source, record and draws (data/raw/drawn_records.h). input_error: a column that is
// missing, a manifest of other content than was embedded, or of none of the pool's pictures.
std::vector<bool> drawn_rows(const EmbeddingPool& pool, const std::string& manifest);

}  // namespace ov
