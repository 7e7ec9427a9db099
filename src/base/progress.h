// A progress bar with rate and ETA on a terminal, a plain line now and then when piped. Writes to stderr.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace ov {

class Progress {
 public:
  Progress(std::string what, std::int64_t total, std::string unit);  // "train", 400, "step"
  ~Progress();                                                       // finish(), if nobody did
  Progress(const Progress&) = delete;
  void update(std::int64_t done, const std::string& note = "");  // note: "loss 0.012"
  void finish();

 private:
  void draw(bool last);
  std::string what_, unit_, note_;
  std::int64_t total_, done_ = 0, first_ = -1;
  bool terminal_, finished_ = false;
  std::chrono::steady_clock::time_point start_, drawn_;
};

}  // namespace ov
