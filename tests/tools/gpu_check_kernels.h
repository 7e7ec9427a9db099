// The part of make gpu-check that times kernels, each by itself, at the sizes of an 8B model and 8192 tokens.
#pragma once
#include <string>
#include <vector>

namespace ov::test {

struct Line {
  std::string name;
  double ms, amount;  // FLOPs, or bytes
  bool flops;
};

// The first two lines are what the machine reaches: a product and a copy. `simulated`: small sizes, of no meaning.
std::vector<Line> time_kernels(bool simulated);

}  // namespace ov::test
