// The part of make gpu-check that takes a model of real size: a training step of 8192 tokens, and how fast it answers.
#pragma once
#include "base/json.h"

namespace ov::test {

// The most that this machine was measured to reach.
struct Measured {
  double flops = 0, bytes = 0;  // a second
};

// LLaVA-OneVision-1.5's 8B, or as many layers of it as this GPU has memory for with moments in bf16: whole on an H200,
// 12 on an H100. Prints a line of the step and one for each number of answers, and returns the same figures.
// `simulated`: sizes at which the simulated GPU shows that this works, and nothing else.
Json time_whole_model(const Measured& best, bool simulated);

}  // namespace ov::test
