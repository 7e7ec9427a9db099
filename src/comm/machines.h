// How the machines of a job find each other. Rank 0's listens at the job's address; each other one connects, says in a
// note (comm/tcp.h) which ranks it has and at which door of its own it listens, and gets the list of all. Then every
// two machines are connected: the later one in the list knocks at the earlier one's door.
//
// Who is of another job, or says what is no note, is turned away, and named if somebody is missed in the end. One of
// this job that has another version, counts the ranks differently, has a rank that is there already or one that cannot
// be ends the meeting for all, with one error.
#pragma once
#include <string>
#include <vector>

#include "comm/descriptor.h"
#include "comm/machine_notes.h"
#include "comm/rank_in_job.h"

namespace ov {

// Another machine of the job.
struct OtherMachine {
  std::vector<int> ranks;
  std::string address;  // for errors
  Descriptor connection;
};

// Made by the first rank of each machine, with the machine's ranks. machine_error that names the ranks which have not
// come within `seconds`.
std::vector<OtherMachine> meet_machines(const RankInJob& place, const std::vector<int>& here, double seconds);

}  // namespace ov
