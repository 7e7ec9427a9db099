// How far the clocks of ranks stand apart: those of one machine read one clock, two machines have counted since each
// was started.
//
// Rank 0 says something at a, rank r hears it at b by its own clock and answers, rank 0 hears that at c. Somewhere
// between a and c it was b, so that r's clock is ahead of rank 0's by b - (a + c) / 2, with an error of (c - a) / 2 at
// most (Cristian 1989). Of several rounds the shortest counts. A difference within its error may be none, and of one
// clock it always is: it counts as none.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "comm/communicator.h"

namespace ov {

// Nanoseconds of the clock that all processes of a machine share.
std::int64_t now_ns();
using Clock = std::function<std::int64_t()>;

struct ClockDifference {
  std::int64_t ahead = 0, error = 0;  // ns, of rank 0's
};
// By rank. A call of all ranks.
std::vector<ClockDifference> clock_differences(Communicator& ranks, const Clock& now = now_ns);

}  // namespace ov
