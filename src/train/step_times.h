// Where the time of a run's steps went, beside the floor of each part (train/floor.h): the line "times" of run.jsonl.
//
//   {"steps": N, "threads": T, "seconds": ..., "data_seconds": ..., "update_seconds": ..., "update_floor": ...,
//    "ops": {NAME: [seconds, floor, plain floor], ...}}
//
// `ops` are seconds of all threads together, forward and backward; the others are of the clock on the wall. What is
// left of threads x seconds is waiting, the sum of the gradients and what the loop does itself.
#pragma once
#include <vector>

#include "base/json.h"
#include "train/floor.h"

namespace ov {

// Of one micro-batch, on its thread.
struct BatchTimes {
  OpTimes::Seconds ops{};
  Floor::Leaf floor{};
};

class StepTimes {
 public:
  struct Step {
    double seconds = 0, data = 0, update = 0, update_floor = 0;
  };
  struct Floors {
    double seconds = 0, plain = 0;
  };
  // Returns the step's floor: that of its batches, shared between the threads, and of the update.
  Floors add(const Step& step, const std::vector<BatchTimes>& batches);
  std::int64_t steps() const { return steps_; }
  Json json() const;

 private:
  std::int64_t steps_ = 0;
  Step sum_;
  BatchTimes batches_;
};

}  // namespace ov
