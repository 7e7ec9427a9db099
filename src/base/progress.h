// A progress bar with rate and ETA on a terminal, a plain line now and then when piped. Writes to stderr.
//
// The rate counts what was done since the bar was made. Until it has watched for a second there is none.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace ov {

class Progress {
 public:
  // "train", 400, "step"; `done`: what was done before the clock began to run, as in a resumed run.
  Progress(std::string what, std::int64_t total, std::string unit, std::int64_t done = 0);
  ~Progress();  // finish(), if nobody did
  Progress(const Progress&) = delete;
  void update(std::int64_t done, const std::string& note = "");  // note: "loss 0.012"
  void finish();

 private:
  void draw(bool last);
  std::string what_, unit_, note_;
  std::int64_t total_, first_, done_;
  bool terminal_, finished_ = false;
  std::chrono::steady_clock::time_point start_, drawn_;
};

// One line to stderr, for what the user should know and nothing is wrong with: "resumed from run/checkpoints/step-40".
void tell(const std::string& line);

}  // namespace ov
