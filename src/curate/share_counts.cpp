#include "curate/share_counts.h"

#include "base/error.h"
#include "base/progress.h"

namespace ov {

void ShareCounts::add(std::int64_t records, std::int64_t kept, const Json& rejects) {
  records_ += records, kept_ += kept;
  rejects_.add(rejects);
  const std::int64_t refused = rejects_.total();
  if (!hopeless(refused, records_, most_)) return;
  if (shard_.joins) rejects_.finish(records_);  // which throws
  input_error(command_, ": shard ", shard_.index + 1, "/", shard_.count, " stops: ", refused, " of its first ",
              records_, " records rejected, and data.max_rejects is ", most_, "; ", rejects_.why());
}

void ShareCounts::finish() const {
  if (shard_.joins || records_ == 0) return;
  const std::string who = cat(command_, ": shard ", shard_.index + 1, "/", shard_.count);
  if (kept_ == 0)
    input_error(who, " keeps nothing of its ", records_,
                " records: ", rejects_.total() ? rejects_.why() : std::string("none is as the options ask for"),
                ". Its blocks stand in ", out_, ".blocks: where other shards keep something, --shard merge joins all");
  tell(cat(who, ": ", records_, " records in, ", kept_, " out, ", rejects_.total(), " rejected",
           rejects_.total() ? "; " + rejects_.why() : ""));
}

}  // namespace ov
