#include "parallel/mesh.h"

namespace ov {
namespace {

std::vector<int> every(int from, int step, int count) {
  std::vector<int> ranks;
  for (int i = 0; i < count; ++i) ranks.push_back(from + i * step);
  return ranks;
}

int checked(int ranks, int tensor_ranks) {
  if (ranks % tensor_ranks != 0)
    input_error("parallel.tensor ", tensor_ranks, ": does not divide ", ranks, ranks == 1 ? " rank" : " ranks",
                "; onevision launch -n ", tensor_ranks, " starts as many");
  return tensor_ranks;
}

}  // namespace

Mesh::Mesh(Communicator& world, int t)
    : tensor(world, every(world.rank() / checked(world.ranks(), t) * t, 1, t)),
      data(world, every(world.rank() % t, t, world.ranks() / t)) {}

}  // namespace ov
