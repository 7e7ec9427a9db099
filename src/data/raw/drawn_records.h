// The records of a data set that a manifest draws: Parquet rows with source, record and draws, as `balance` writes
// them. No data is copied.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "data/raw/records.h"
#include "store/parquet/schema.h"

namespace ov {

constexpr std::int64_t most_draws = 1 << 20;  // of one record

// In the manifest's order, each as often as it was drawn, and numbered anew: errors and rejects name those numbers.
// `all` itself where manifest is "". Rows of another source than set_name() of all's path are passed over. Throws
// input_error: none is of this source, a record that it does not hold, a column that is missing, or `all` is a mixture.
// input_error, too, when the manifest says that it was drawn from other content than the data set has now.
std::unique_ptr<const Records> drawn_records(std::unique_ptr<const Records> all, const std::string& manifest);

// A manifest's metadata, of the whole Parquet file: name and fingerprint of each source, as JSON.
std::vector<std::pair<std::string, std::string>> drawn_from(
    const std::vector<std::pair<std::string, std::string>>& sources);
// The fingerprint that a manifest says of a source; "" where it says none.
std::string drawn_fingerprint(const ParquetFile& manifest, const std::string& source);

}  // namespace ov
