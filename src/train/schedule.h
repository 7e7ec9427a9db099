// The learning rate of a step, as the original's scheduler has it.
//
//   n <= W   lr = peak n / W                                           W = warmup · steps
//   n <= D   lr = min + ½ (peak - min) (1 + cos(π (n - W) / (D - W)))  D = steps
//   n > D    lr = min
//
// The original counts samples, n = step · batch from 0, so that the first step has rate 0 and the last one is a
// little above the minimum; counting steps is the same, as the batch is constant. first_step 1 counts from 1: the
// last step has the minimum.
#pragma once
#include <cstdint>
#include <string>

namespace ov {

struct Schedule {
  double peak = 1e-5, min = 1e-6;
  double warmup = 0.002;         // fraction of the steps
  std::string decay = "cosine";  // or "constant": the peak after warm-up
  std::int64_t steps = 1, first_step = 0;

  double rate(std::int64_t step) const;  // of the step-th update, from 0
};

}  // namespace ov
