// Starts the ranks of one machine, or one machine's share of a job, as processes and waits for them.
#pragma once
#include <string>
#include <vector>

#include "base/error.h"

namespace ov {

struct Launched {
  int ranks = 1;             // here, as many as on each of the
  int machines = 1;          // of which this is number
  int machine = 0;           // and the ranks of the first are the first
  std::string address = "";  // HOST:PORT where the first listens, if there are several
};

// `arguments` of this program, in as many processes, each with torchrun's variables (comm/rank_in_job.h). Returns when all have ended well. Otherwise throws the error of the first that failed, with its exit code (128 + the signal
// of one that was killed); the others are given a moment to end by themselves, and then ended. A rank that was killed
// and that the others go on without (hand_over_loss) is no failure. SIGINT and SIGTERM are handed on. No rank outlives
// this process.
void launch_ranks(const Launched& job, const std::vector<std::string>& arguments);

// A launched rank gives its error to who launched it, which shows the first. False when nobody did.
bool hand_over_error(Exit exit, const std::string& text);
bool hand_over_loss(int rank);  // that the job goes on without this rank, which was killed
bool is_launched();             // somebody did

}  // namespace ov
