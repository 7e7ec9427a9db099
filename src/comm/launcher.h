// Starts the ranks of one machine, or one machine's share of a job, as processes and waits for them.
#pragma once
#include <string>
#include <vector>

#include "base/error.h"

namespace ov {

// One machine's share of a job in which every machine has as many ranks.
struct Launched {
  int ranks = 1;                  // of each machine
  int machines = 1, machine = 0;  // how many, and which this is; the first ranks are machine 0's
  std::string address = "";       // HOST:PORT where machine 0 listens, if there are several
};

// `arguments` of this program, in as many processes, each with torchrun's variables (comm/rank_in_job.h). Returns when
// all have ended well. Otherwise throws the error of the first that failed, with its exit code (128 + the signal of one
// that was killed); the others are given a moment to end by themselves, and then ended. A rank that was killed and that
// the others go on without (hand_over_loss) is no failure. SIGINT, SIGTERM and SIGHUP are handed on; one that
// is ignored, as SIGHUP under nohup, is not. No rank outlives this process.
void launch_ranks(const Launched& job, const std::vector<std::string>& arguments);

// A launched rank gives its error to who launched it, which shows the first. False when nobody did.
bool hand_over_error(Exit exit, const std::string& text);
bool hand_over_loss(int rank);  // that the job goes on without this rank, which was killed
bool is_launched();             // somebody did

}  // namespace ov
