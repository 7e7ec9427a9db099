// An all_reduce of 64 MB between two CPU ranks beside what its bytes would take if two threads copied them once: 2
// (N-1)/N of the tensor's bytes leave each rank, and the sum itself is made on the way. Both in turns, in the same two
// processes, so that what else the machine does hits both alike; the processor time of rank 0 does not see it at all.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "base/parallel.h"
#include "comm/process_ranks.h"
#include "tests/bench/bench.h"

namespace {
using namespace ov;
using namespace ov::bench;

constexpr std::int64_t elements = 16 << 20;  // f32: 64 MB

struct Times {
  std::vector<double> passed, worked;
  double work() const {
    return std::accumulate(worked.begin(), worked.end(), 0.0) / static_cast<double>(worked.size());
  }
};

void one_rank_of(int rank, int ranks, const std::string& job) {
  ProcessRanks world({rank, ranks, job, "bench"}, 60);
  const Tensor t = Tensor::zeros({elements}, Dtype::f32, cpu()), to = Tensor::zeros({elements}, Dtype::f32, cpu());
  Times copies, sums;
  for (int turn = 0; turn < 33; ++turn) {
    const auto timed = [&](Times& into, auto&& work) {
      world.barrier();
      const double start = seconds(), worked = processor_seconds();
      work();
      world.barrier();
      if (turn < 2) return;  // pages are not there
      into.passed.push_back(seconds() - start), into.worked.push_back(processor_seconds() - worked);
    };
    timed(copies, [&] { std::copy_n(t.data<float>(), elements, to.data<float>()); });
    timed(sums, [&] { world.all_reduce(t); });
  }
  if (rank == 0) {
    const double bytes = 4.0 * elements, copy = summary(copies.passed).median, sum = summary(sums.passed).median,
                 moved = 2.0 * (ranks - 1) / ranks * bytes;  // a rank
    std::printf("all_reduce of 64 MB between %d CPU ranks, medians of %zu\n", ranks, sums.passed.size());
    std::printf("  %-44s %8.2f ms  %6.2f GB/s a rank\n", "both copy 64 MB", 1e3 * copy, bytes / copy / 1e9);
    std::printf("  %-44s %8.2f ms\n", "its bytes at that rate", 1e3 * moved / (bytes / copy));
    std::printf("  %-44s %8.2f ms  %6.2f of that\n", "all_reduce", 1e3 * sum, sum / (moved / (bytes / copy)));
    std::printf("  %-44s %8.2f ms  %6.2f of that copy's, %.2f ms: the mean\n", "processor time of all_reduce",
                1e3 * sums.work(), sums.work() / copies.work() * bytes / moved, 1e3 * copies.work());
    std::fflush(stdout);
  }
  world.leave();
}

void run() {
  constexpr int ranks = 2;
  const std::string job = "bench/" + std::to_string(::getpid());
  const int before = threads();
  set_threads(1);  // a child has none of its parent's
  std::fflush(nullptr);
  std::vector<pid_t> children;
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t child = ::fork();
    if (child < 0) machine_error("bench: cannot start a process");
    if (child == 0) {
      try {
        one_rank_of(rank, ranks, job);
      } catch (const Error& e) {
        std::fprintf(stderr, "bench: rank %d: %s\n", rank, e.what());
        ::_exit(1);
      }
      ::_exit(0);
    }
    children.push_back(child);
  }
  int failed = 0;
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    failed += status != 0;
  }
  set_threads(before);
  if (failed > 0) machine_error("bench: ", failed, " of ", ranks, " ranks failed");
}

const Benchmark benchmark("all_reduce", run);

}  // namespace
