// Copies that come through mbarriers (kernels/cuda/ptx_barrier.h), right and with mistakes, and the probe that a GPU
// runs too: tests/kernels/ptx_probe.cu.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "kernels/cuda/ptx_barrier.h"
#include "tests/check.h"
#include "tests/kernels/fault_of.h"
#include "tests/kernels/ptx_probe.cu"
#include "tests/kernels/sim_schedules.h"

using namespace ov;
using namespace ov::test;
using ov::sim::fault_of;
using ptx::Mbarrier;

namespace {

constexpr int turns = 5;

// ---- a pipeline

enum Mistake {
  none,
  wrong_parity,
  no_wait,
  arrives_before_copies,
  count_too_small,
  count_too_large,
  refills_too_early,
  one_waits_not
};

// Threads 0 to 31 fetch rows of 4 numbers, turn after turn, through two stages; threads 32 to 63 add them up, each what
// its neighbour's partner has fetched.
__global__ void pipeline(float* sum, const float* from, int mistake) {
  SHARED(float, stage, 2, 32, 4);
  SHARED(Mbarrier, full, 2);
  SHARED(Mbarrier, empty, 2);
  const int t = threadIdx.x, lane = t % 32;
  from += blockIdx.x * turns * 32 * 4;
  if (t < 2) {
    ptx::mbarrier_init(&full[t], 32 + (mistake == count_too_large) - (mistake == count_too_small));
    ptx::mbarrier_init(&empty[t], 32);
  }
  __syncthreads();
  float total = 0;
  for (int n = 0; n < turns; ++n) {
    const int s = n % 2, turn = n / 2;
    if (t < 32) {
      if (mistake != refills_too_early) ptx::mbarrier_wait_parity(&empty[s], (turn + 1) % 2);
      ptx::copy_async(&stage[s][lane][0], from + (n * 32 + lane) * 4, true);
      if (mistake == arrives_before_copies) ptx::mbarrier_arrive(&full[s]);
      else ptx::copy_async_arrive(&full[s]);
    } else {
      if (mistake == wrong_parity) ptx::mbarrier_wait_parity(&full[s], (turn + 1) % 2);
      else if (mistake != no_wait && !(mistake == one_waits_not && t == 63 && n == 1))
        ptx::mbarrier_wait_parity(&full[s], turn % 2);
      for (int i = 0; i < 4; ++i) total += stage[s][(lane + 1) % 32][i];
      ptx::mbarrier_arrive(&empty[s]);
    }
  }
  if (t >= 32) sum[blockIdx.x * 32 + lane] = total;
}

struct Piped {
  std::vector<float> sums;
  std::string fault;
};

// In every order, the first of them forward.
std::vector<Piped> piped(Mistake mistake) {
  std::vector<float> from(3 * turns * 32 * 4);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i % 97);
  std::vector<Piped> all;
  sim::for_each_schedule([&] {
    all.push_back({std::vector<float>(3 * 32), ""});
    all.back().fault = fault_of(pipeline, dim3(3), dim3(64), 0, nullptr, all.back().sums.data(), from.data(), mistake);
  });
  return all;
}

std::vector<float> expected_sums() {
  std::vector<float> sums(3 * 32);
  for (std::size_t i = 0; i < sums.size(); ++i)
    for (std::size_t n = 0; n < turns; ++n)
      for (std::size_t k = 0; k < 4; ++k)
        sums[i] += static_cast<float>((((i / 32 * turns + n) * 32 + (i % 32 + 1) % 32) * 4 + k) % 97);
  return sums;
}

}  // namespace

TEST_CASE("mbarrier: copies come through two stages with the same bits in every order") {
  for (const Piped& p : piped(none)) {
    CHECK(p.fault == "");
    CHECK(p.sums == expected_sums());
  }
}

TEST_CASE(
    "mbarrier: a count that nobody reaches is a fault that says who waits where, and how many are missing (G-29)") {
  for (const Piped& p : piped(count_too_large)) {
    CHECK(contains(p.fault, ": no thread can go on: "));
    CHECK(contains(p.fault, "threads 32-63 wait at mbarrier.test_wait at tests/kernels/cuda_pipeline_test.cpp:"));
    CHECK(contains(p.fault, ": 1 of 33 arrivals are missing"));
  }
}

TEST_CASE("mbarrier: a wrong parity, a missing wait, a count too small and a stage refilled early are found (G-29)") {
  for (const Mistake mistake :
       {wrong_parity, no_wait, arrives_before_copies, count_too_small, refills_too_early, one_waits_not}) {
    CAPTURE(mistake);
    int found = 0;
    const std::vector<Piped> all = piped(mistake);
    for (const Piped& p : all) found += p.fault != "" || p.sums != expected_sums();
    CHECK(found > 0);
    if (mistake == no_wait || mistake == arrives_before_copies) CHECK(std::isnan(all[0].sums[0]));  // copies land late
    if (mistake == one_waits_not) {  // what others wait for is not shown to who does not wait
      CHECK(std::isnan(all[0].sums[31]));
      CHECK(all[0].sums[30] == expected_sums()[30]);
    }
  }
}

TEST_CASE("ptx: the probe that a GPU runs too gives exact products and sums, in every order") {
  std::vector<float> in(probe::inputs);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i * 7 % 13) - 6;
  sim::for_each_schedule([&] {
    const Tensor y({probe::outputs}, Dtype::f32, ov::cpu());
    probe::simulated::run(y, Tensor::of(in, {probe::inputs}), nullptr);
    const std::vector<float> out = y.to_vector<float>();
    for (std::size_t m = 0; m < 16; ++m)
      for (std::size_t n = 0; n < 16; ++n) {
        float d = 0;
        for (std::size_t k = 0; k < 16; ++k) d += in[m * 16 + k] * in[256 + k * 16 + n];
        CHECK(out[m * 16 + n] == d);
      }
    const auto row = [&](std::size_t i) { return in[4 * i] + in[4 * i + 1] + in[4 * i + 2] + in[4 * i + 3]; };
    for (std::size_t t = 0; t < 64; ++t) {
      const std::size_t next = (t + 1) % 64;
      CHECK(out[256 + t] == row(next) + (next % 2 ? 0 : row(64 + next)));
      float fetched = 0;
      for (std::size_t n = 0; n < 5 && t >= 32; ++n) fetched += row(n * 32 + (t + 1) % 32);
      CHECK(out[256 + 64 + t] == fetched + 7 + (t < 32 ? 9 : 0));
    }
    for (std::size_t l = 0; l < 32; ++l) CHECK(out[probe::exact + l] == std::exp2(in[l] + static_cast<float>(l) / 32));
  });
}
