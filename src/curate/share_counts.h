// What becomes of a run that refuses records. One rule for all commands that read records in blocks, whole or sharded:
//
//   counts      are always said: by a shard those of its share, by the run that joins those of all
//   early end   when more are refused than data.max_rejects allows and they are nine of ten of what was read so far:
//               the whole cannot end well any more
//   nothing     a share or a run that keeps nothing is an error (exit 2) that names the first reasons
//
// Blocks that were made stay. OUT.rejects.jsonl names every record that was refused up to then; a shard's stand in its
// blocks until `--shard merge` writes them there.
#pragma once
#include <string>

#include "curate/blocks.h"
#include "curate/sources.h"

namespace ov {

class ShareCounts {
 public:
  ShareCounts(std::string command, const Shard& shard, const std::string& out, std::int64_t most)
      : command_(std::move(command)), shard_(shard), out_(out), most_(most), rejects_(out, most) {}
  // A block of the share stands. Throws the early end.
  void add(std::int64_t records, std::int64_t kept, const Json& rejects);
  // All of the share's blocks stand. Of a shard: says its counts, or throws that it keeps nothing.
  void finish() const;

 private:
  const std::string command_;
  const Shard shard_;
  const std::string out_;
  const std::int64_t most_;
  RejectFile rejects_;
  std::int64_t records_ = 0, kept_ = 0;
};

}  // namespace ov
