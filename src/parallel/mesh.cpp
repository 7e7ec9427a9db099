#include "parallel/mesh.h"

#include <bit>

namespace ov {
namespace {

// The `count` ranks that stand `step` apart, `rank` among them.
std::vector<int> axis(int rank, int step, int count) {
  std::vector<int> ranks;
  const int first = rank / (step * count) * (step * count) + rank % step;
  for (int i = 0; i < count; ++i) ranks.push_back(first + i * step);
  return ranks;
}

int checked(int ranks, int t, int p, int c, int n, int k, bool planned) {
  std::string ways;
  const auto name = [&](const char* key, int by) {
    if (by > 1) ways += cat(ways.empty() ? "" : " x ", "parallel.", key, " ", by);
  };
  name("tensor", t), name("pipeline", p), name("context", c), name("experts", n), name("classes", k);
  const int one = t * p * c * n * k;
  if (ranks % one != 0)
    input_error(ways, ": does not divide ", ranks, ranks == 1 ? " rank" : " ranks",
                planned ? "; --plan.ranks " : "; onevision launch -n ", (ranks + one - 1) / one * one,
                planned ? " plans as many" : " starts as many");
  if (!std::has_single_bit(static_cast<unsigned>(n)))
    input_error("parallel.experts ", n,
                ": expected a power of two, so that what its ranks add is a node of one rank's "
                "sum over micro-batches");
  if (n > 1 && p > 1) input_error(ways, ": not built; choose one of parallel.pipeline and parallel.experts");
  return t;
}

}  // namespace

Mesh::Mesh(Communicator& world, int t, int p, int c, int expert_ranks, int class_ranks, bool planned)
    : Mesh(world, Axes{checked(world.ranks(), t, p, c, expert_ranks, class_ranks, planned), p, c,
                       expert_ranks * class_ranks}) {}

// Each axis steps over all that are inside of it.
Mesh::Mesh(Communicator& world, const Axes& by)
    : tensor(world, axis(world.rank(), 1, by.tensor)),
      context(world, axis(world.rank(), by.tensor, by.context)),
      pipe(world, axis(world.rank(), by.tensor * by.context, by.pipeline)),
      experts(world, axis(world.rank(), by.tensor * by.context * by.pipeline, by.experts)),
      data(world, axis(world.rank(), by.all(), world.ranks() / by.all())) {}

std::string said_of_idle(std::int64_t idle, std::int64_t leaves, int copies, int sharing, int pipeline) {
  if (idle == 0) return "";
  const std::string said = cat(idle, " of ", copies, " copies have no micro-batch: ");
  if (leaves < copies)
    return cat(said, "a step has ", leaves,
               " (train.micro_batches); fewer ranks are as fast, or let more of them hold ",
               "one copy: parallel.tensor, pipeline, context");
  std::int64_t even = copies;
  while (even < leaves) even *= 2;
  // ZeRO-2 takes 2^k ranks, and hands a pipeline one leaf at a time.
  const bool zero2 = pipeline == 1 && std::has_single_bit(static_cast<unsigned>(copies / sharing));
  return cat(said, "each has a power of two of them (parallel/data.h); train.micro_batches ", even,
             " gives all as many",
             zero2 ? ", parallel.zero 2 divides any number evenly and sends more (parallel/zero2.h)" : "");
}

const char* axis_between(int a, int b, const Axes& by) {
  int size = by.tensor;
  if (a / size == b / size) return "tensor";
  if (size *= by.context; a / size == b / size) return "context";
  if (size *= by.pipeline; a / size == b / size) return "pipe";
  if (size *= by.experts; a / size == b / size) return "experts";
  return "data";
}

}  // namespace ov
