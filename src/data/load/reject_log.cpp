#include "data/load/reject_log.h"

#include <algorithm>
#include <set>

namespace ov {

RejectLog::RejectLog(RejectOptions options, std::string where, std::string what)
    : options_(std::move(options)), where_(std::move(where)), what_(std::move(what)) {
  require_at_least(options_.most, 0, "data.max_rejects");
}

void RejectLog::add(std::span<const Fault> faults, std::int64_t records, LoaderState& state) {
  if (!lines_ && !options_.path.empty()) {
    std::int64_t kept = 0;
    lines_.emplace(JsonlWriter::resume(options_.path, [&](const Json&) { return kept++ < state.rejects.total(); }));
  }
  RejectCounts counts = state.rejects;
  std::set<std::int64_t> added;
  for (const Fault& f : faults) {
    const bool known = std::binary_search(state.rejected.begin(), state.rejected.end(), f.slot.record);
    if (known || !added.insert(f.slot.record).second) continue;
    counts.add(f.reason);
    if (lines_)
      lines_->write(Json::object({{"epoch", f.slot.epoch},
                                  {"record", f.slot.record + 1},
                                  {"reason", name_of(f.reason)},
                                  {"message", f.message}}));
    const std::int64_t n = counts.total();
    if (n > options_.most || n == records)
      input_error(where_, ": ", n, " of ", records, " ", what_, " rejected",
                  n > options_.most ? cat(", more than data.max_rejects ", options_.most)
                                    : std::string(", so none is left to learn from"),
                  " (", counts.str(), "); the last: ", f.message);
  }
  state.rejects = counts;
  state.rejected.insert(state.rejected.end(), added.begin(), added.end());
  std::sort(state.rejected.begin(), state.rejected.end());
}

}  // namespace ov
