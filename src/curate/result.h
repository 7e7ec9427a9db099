// What a finished run of this folder's commands leaves beside OUT, so that the same command knows its own work again:
// OUT.report.json says "made_from", a digest of the inputs by their fingerprints and of the options, and "sha256", that
// of OUT. The report is removed before OUT is written and written behind it, so one that stands is of that OUT. Tar and
// Parquet files, of which a fingerprint reads a part alone, must be older than the report.
//
// Pictures in files of their own are not looked at (data/raw/records.h): who exchanged such a file removes OUT.
#pragma once
#include <string>

#include "base/json.h"
#include "curate/blocks.h"

namespace ov {

// The report where OUT stands as a run made from the same left it, and says so; else null. `most`: data.max_rejects; a
// run that refused more is not over. What a kill left in OUT.blocks is cleared, or finished by another run.
Json finished_report(const std::string& out, const std::string& made_from, const Blocks& blocks, const Shard& shard,
                     std::int64_t most = INT64_MAX);
void begin_result(const std::string& out);
// The report with what it is made from, as it is written.
Json write_report(const std::string& out, const std::string& made_from, Json report);

}  // namespace ov
