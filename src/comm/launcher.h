// Starts the ranks of one machine as processes and waits for them.
#pragma once
#include <string>
#include <vector>

#include "base/error.h"

namespace ov {

// `arguments` of this program, in `ranks` processes, each with RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE. Returns
// when all have ended well. Otherwise throws the error of the first that failed, with its exit code (128 + the signal
// of one that was killed); the others are given a moment to end by themselves, and then ended. A rank that was killed
// and that the others go on without (hand_over_loss) is no failure. SIGINT and SIGTERM are handed on. No rank outlives
// this process.
void launch_ranks(int ranks, const std::vector<std::string>& arguments);

// A launched rank gives its error to who launched it, which shows the first. False when nobody did.
bool hand_over_error(Exit exit, const std::string& text);
bool hand_over_loss(int rank);  // that the job goes on without this rank, which was killed

}  // namespace ov
