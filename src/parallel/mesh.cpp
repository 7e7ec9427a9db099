#include "parallel/mesh.h"

namespace ov {
namespace {

std::vector<int> every(int from, int step, int count) {
  std::vector<int> ranks;
  for (int i = 0; i < count; ++i) ranks.push_back(from + i * step);
  return ranks;
}

int checked(int ranks, int t, int p, int c) {
  if (ranks % (t * p * c) == 0) return t;
  std::string keys;
  const auto name = [&](const char* key, int n) {
    if (n > 1) keys += cat(keys.empty() ? "" : " x ", "parallel.", key, " ", n);
  };
  name("tensor", t), name("pipeline", p), name("context", c);
  input_error(keys, ": does not divide ", ranks, ranks == 1 ? " rank" : " ranks", "; onevision launch -n ", t * p * c,
              " starts as many");
}

}  // namespace

Mesh::Mesh(Communicator& world, int t, int p, int c)
    : tensor(world, every(world.rank() / checked(world.ranks(), t, p, c) * t, 1, t)),
      context(world, every(world.rank() / (t * c) * (t * c) + world.rank() % t, t, c)),
      pipe(world, every(world.rank() / (t * c * p) * (t * c * p) + world.rank() % (t * c), t * c, p)),
      data(world, every(world.rank() % (t * c * p), t * c * p, world.ranks() / (t * c * p))) {}

const char* axis_between(int a, int b, int t, int p) {
  return a / (t * p) != b / (t * p) ? "data" : a / t != b / t ? "pipe" : "tensor";
}

}  // namespace ov
