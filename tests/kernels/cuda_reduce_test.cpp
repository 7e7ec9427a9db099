#include <doctest/doctest.h>

#include <algorithm>
#include <bit>

#include "base/sum.h"
#include "kernels/cuda/reduce.h"
#include "tests/kernels/cuda_twins.h"
#include "tests/kernels/sim_schedules.h"

using namespace ov;
using namespace ov::kernels;

namespace {

// One straight after the other: the second must not overwrite what a slow thread still reads of the first.
__global__ void sums_maxima_counts(float* results, const float* x, std::int64_t n) {
  float sums[2], maxima[2];
  for (int turn = 0; turn < 2; ++turn)
    sums[turn] = simulated::row_sum<float>(n, [&](std::int64_t i) { return turn ? x[i] * x[i] : x[i]; });
  for (int turn = 0; turn < 2; ++turn) {
    float top = -INFINITY;
    for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) {
      const float v = turn ? -x[i] : x[i];
      top = v > top ? v : top;
    }
    maxima[turn] = simulated::block_max(top);
  }
  std::int64_t counts[2] = {};
  for (int turn = 0; turn < 2; ++turn) {
    for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) counts[turn] += turn ? x[i] > 1 : x[i] > -1;
    counts[turn] = simulated::block_count(counts[turn]);
  }
  float* mine = results + 6 * threadIdx.x;
  mine[0] = sums[0], mine[1] = sums[1], mine[2] = maxima[0], mine[3] = -maxima[1];
  mine[4] = float(counts[0]), mine[5] = float(counts[1]);
}

}  // namespace

TEST_CASE("reduce: every thread gets the sums of base/sum.h to the bit, the maxima and counts, one after the other") {
  for (std::int64_t n : edge_sizes)
    sim::for_each_schedule([&] {
      CAPTURE(n);
      const std::vector<float> x = drawn(n, 7);
      const auto above = [&](float than) {
        return static_cast<float>(std::count_if(x.begin(), x.end(), [&](float v) { return v > than; }));
      };
      const float expected[6] = {sum<float>(n, [&](std::int64_t i) { return x[i]; }),
                                 dot<float>(n, x.data(), x.data()),
                                 *std::max_element(x.begin(), x.end()),
                                 *std::min_element(x.begin(), x.end()),
                                 above(-1),
                                 above(1)};
      const unsigned threads = simulated::row_threads(n);
      std::vector<float> results(6 * threads);
      launch(sums_maxima_counts, dim3(1), dim3(threads), 0, nullptr, results.data(), x.data(), n);
      for (std::size_t i = 0; i < results.size(); ++i)
        REQUIRE(std::bit_cast<std::uint32_t>(results[i]) == std::bit_cast<std::uint32_t>(expected[i % 6]));
    });
}
