// What the log of a run of mode `disaggregated` says of its steps (RemoteRollouts::events): all that a replay of it
// needs to know (rl/replay.h). Nothing that a log asks for is done before it is known to be possible: a damaged one is
// refused with its line, and cannot ask for more memory than a true one.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace ov::rl {

// What the options of the run allow.
struct EventBounds {
  std::int64_t prompts = 1, group = 2, staleness = 0;  // groups of a step, rollouts of each, η
  std::int64_t most_groups = 1;                        // that are written at once
  std::int64_t max_new_tokens = 1;                     // of a rollout
};

struct StepEvents {
  std::int64_t begun = 0;           // groups, ever: they have the numbers below it
  std::vector<std::int64_t> taken;  // the groups of the step
  std::string tokens;               // their checksum
  struct Drawn {
    std::int64_t number = 0;
    std::vector<std::int64_t> tokens;  // that each rollout of the group got
  };
  std::vector<Drawn> drawn;
  Json written;  // as the log has it
};

// Of every step, in order. input_error "path:line: events: key: ..." for a step
//   without events, or out of order: log.every must have been 1
//   that began fewer groups than the step before, more than the gate lets through, or more than were ever written and
//     may be written at once
//   that took other than `prompts` groups, or one that was never begun or was taken before
//   that drew for a group that is not under way, for another number of rollouts, or past a rollout's end
std::vector<StepEvents> read_event_log(const std::string& path, const EventBounds& bounds);

}  // namespace ov::rl
