// How the ranks of one machine find each other: the first of them listens at a Unix socket in the abstract name space,
// whose name is the job's and which leaves no file; the others connect, say who they are, and get the descriptor of the
// memory that all share. The connections stay open: the system closes those of a process however it ends, and so the
// others know at once. Of a job on several machines the first of each meets the others before it answers
// (comm/machines.h).
#pragma once
#include <vector>

#include "comm/descriptor.h"
#include "comm/machines.h"
#include "comm/rank_in_job.h"

namespace ov {

struct Meeting {
  Descriptor memory;
  Descriptor bell;                     // an eventfd for the bridge (comm/bridge.h); none: all ranks are here
  std::vector<Descriptor> peers;       // by rank: the first here is connected to all others here, they to it alone
  std::vector<int> here;               // at the first of the machine: its ranks, by their order here
  std::vector<OtherMachine> machines;  // and the other machines
};

// machine_error that names the ranks which have not come within `seconds`; input_error when two say the same rank, or
// say another number of ranks.
Meeting meet(const RankInJob& place, double seconds);

}  // namespace ov
