#include "parallel/mesh.h"

#include <bit>

namespace ov {
namespace {

std::vector<int> every(int from, int step, int count) {
  std::vector<int> ranks;
  for (int i = 0; i < count; ++i) ranks.push_back(from + i * step);
  return ranks;
}

int checked(int ranks, int t, int p, int n) {
  std::string ways;
  for (const auto& [key, by] : {std::pair{"parallel.tensor ", t}, {"parallel.pipeline ", p}, {"parallel.experts ", n}})
    if (by > 1) ways += cat(ways.empty() ? "" : " x ", key, by);
  if (ranks % (t * p * n) != 0)
    input_error(ways, ": does not divide ", ranks, ranks == 1 ? " rank" : " ranks", "; onevision launch -n ", t * p * n,
                " starts as many");
  if (!std::has_single_bit(static_cast<unsigned>(n)))
    input_error("parallel.experts ", n,
                ": expected a power of two, so that what its ranks add is a node of one rank's "
                "sum over micro-batches");
  if (n > 1 && p > 1) input_error(ways, ": not built; choose one of the two");
  return t;
}

}  // namespace

Mesh::Mesh(Communicator& world, int t, int p, int n)
    : tensor(world, every(world.rank() / checked(world.ranks(), t, p, n) * t, 1, t)),
      pipe(world, every(world.rank() / (t * p) * (t * p) + world.rank() % t, t, p)),
      experts(world, every(world.rank() / (n * t * p) * (n * t * p) + world.rank() % (t * p), t * p, n)),
      data(world, every(world.rank() % (n * t * p), n * t * p, world.ranks() / (n * t * p))) {}

}  // namespace ov
