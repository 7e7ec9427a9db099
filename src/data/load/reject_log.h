// What a run rejects: each faulty record is counted once, whenever and however often it is met, has one line in a file,
// and one more than the limit ends the run. Faults come in the order of their slots, so the lines do too.
#pragma once
#include <optional>
#include <span>
#include <string>

#include "data/load/loader_state.h"
#include "store/jsonl.h"

namespace ov {

// Why a slot, or a sample of a pack, is empty.
struct Fault {
  Slot slot;
  RejectReason reason;
  std::string message;
};

struct RejectOptions {
  std::int64_t most = 100;  // data.max_rejects: different records
  std::string path;         // JSON lines {"epoch", "record", "reason", "message"}; "": not written
};

class RejectLog {
 public:
  // `where` and `what` begin the message beyond the limit: "a.json: 3 of 100 records rejected".
  RejectLog(RejectOptions options, std::string where, std::string what);

  // The faults of the step after `state`, which gets those that are new, or stays as it is when this throws
  // input_error: more than `most`, or all of `records`. The file is cut to the lines of `state` before it grows.
  void add(std::span<const Fault> faults, std::int64_t records, LoaderState& state);
  void restart() { lines_.reset(); }  // after another state was restored

 private:
  const RejectOptions options_;
  const std::string where_, what_;
  std::optional<JsonlWriter> lines_;
};

}  // namespace ov
