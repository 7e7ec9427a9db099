#include "parallel/mesh.h"

#include <bit>

namespace ov {
namespace {

std::vector<int> every(int from, int step, int count) {
  std::vector<int> ranks;
  for (int i = 0; i < count; ++i) ranks.push_back(from + i * step);
  return ranks;
}

int checked(int ranks, int t, int p, int c, int n) {
  std::string ways;
  const auto name = [&](const char* key, int by) {
    if (by > 1) ways += cat(ways.empty() ? "" : " x ", "parallel.", key, " ", by);
  };
  name("tensor", t), name("pipeline", p), name("context", c), name("experts", n);
  if (ranks % (t * p * c * n) != 0)
    input_error(ways, ": does not divide ", ranks, ranks == 1 ? " rank" : " ranks", "; onevision launch -n ",
                t * p * c * n, " starts as many");
  if (!std::has_single_bit(static_cast<unsigned>(n)))
    input_error("parallel.experts ", n,
                ": expected a power of two, so that what its ranks add is a node of one rank's "
                "sum over micro-batches");
  if (n > 1 && p > 1) input_error(ways, ": not built; choose one of parallel.pipeline and parallel.experts");
  return t;
}

}  // namespace

Mesh::Mesh(Communicator& world, int t, int p, int c, int n)
    : tensor(world, every(world.rank() / checked(world.ranks(), t, p, c, n) * t, 1, t)),
      context(world, every(world.rank() / (t * c) * (t * c) + world.rank() % t, t, c)),
      pipe(world, every(world.rank() / (t * c * p) * (t * c * p) + world.rank() % (t * c), t * c, p)),
      experts(world,
              every(world.rank() / (t * c * p * n) * (t * c * p * n) + world.rank() % (t * c * p), t * c * p, n)),
      data(world, every(world.rank() % (t * c * p * n), t * c * p * n, world.ranks() / (t * c * p * n))) {}

const char* axis_between(int a, int b, const Axes& by) {
  int size = by.tensor;
  if (a / size == b / size) return "tensor";
  if (size *= by.context; a / size == b / size) return "context";
  if (size *= by.pipeline; a / size == b / size) return "pipe";
  if (size *= by.experts; a / size == b / size) return "experts";
  return "data";
}

}  // namespace ov
