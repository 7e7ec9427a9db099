#include "parallel/mesh.h"

namespace ov {
namespace {

std::vector<int> every(int from, int step, int count) {
  std::vector<int> ranks;
  for (int i = 0; i < count; ++i) ranks.push_back(from + i * step);
  return ranks;
}

int checked(int ranks, int t, int p) {
  if (ranks % (t * p) != 0)
    input_error(t > 1 ? cat("parallel.tensor ", t) : "", t > 1 && p > 1 ? " x " : "",
                p > 1 ? cat("parallel.pipeline ", p) : "", ": does not divide ", ranks, ranks == 1 ? " rank" : " ranks",
                "; onevision launch -n ", t * p, " starts as many");
  return t;
}

}  // namespace

Mesh::Mesh(Communicator& world, int t, int p)
    : tensor(world, every(world.rank() / checked(world.ranks(), t, p) * t, 1, t)),
      pipe(world, every(world.rank() / (t * p) * (t * p) + world.rank() % t, t, p)),
      data(world, every(world.rank() % (t * p), t * p, world.ranks() / (t * p))) {}

const char* axis_between(int a, int b, int t, int p) {
  return a / (t * p) != b / (t * p) ? "data" : a / t != b / t ? "pipe" : "tensor";
}

}  // namespace ov
