#include <doctest/doctest.h>

#include "kernels/cuda/rows.h"
#include "kernels/rmsnorm.h"
#include "tests/kernels/cuda_twins.h"
#include "tests/kernels/sim_schedules.h"

using namespace ov;
using namespace ov::kernels;

namespace {

struct Result {
  Tensor y, rstd, dx, dw;
};

// dw starts from values of its own, since the kernel adds to it.
Result run_on(Device& device, const Tensor& x, const Tensor& dy, std::int64_t C) {
  const std::int64_t N = x.numel() / C;
  Result r{unwritten(device, x.shape()), unwritten(device, {N}), unwritten(device, x.shape()),
           on(device, drawn(C, 4), {C})};
  const Tensor w = on(device, drawn(C, 3), {C});
  rmsnorm_forward({.y = r.y, .rstd = r.rstd, .x = x, .w = w, .eps = 1e-6});
  rmsnorm_backward({.dx = r.dx, .dw = r.dw, .dy = dy, .x = x, .w = w, .rstd = r.rstd});
  return r;
}

Result run_on(Device& device, std::int64_t N, std::int64_t C) {
  return run_on(device, on(device, drawn(N * C, 1), {N, C}), on(device, drawn(N * C, 2), {N, C}), C);
}

void check_same(const Result& got, const Result& expected) {
  CHECK(same_bits(got.y, expected.y));
  CHECK(same_bits(got.rstd, expected.rstd));
  CHECK(same_bits(got.dx, expected.dx));
  CHECK(same_bits(got.dw, expected.dw));
}

// The projection onto x forgotten: dx = r dy w.
__global__ void wrong_gradient(float* dx, const float* dy, const float* w, const float* rstd) {
  dx[threadIdx.x] = rstd[0] * (dy[threadIdx.x] * w[threadIdx.x]);
}

}  // namespace

TEST_CASE("rmsnorm: the CUDA twin gives the CPU's bits in every thread order, at every row length") {
  for (std::int64_t N : {1, 5})
    for (std::int64_t C : edge_sizes) {
      CAPTURE(N);
      CAPTURE(C);
      const Result expected = run_on(cpu(), N, C);
      sim::for_each_schedule([&] { check_same(run_on(sim_device(), N, C), expected); });
    }
}

TEST_CASE(
    "rmsnorm: the CUDA twin sums the scale's gradient over rows in the CPU's order, up to two levels of the tree "
    "(G-41)") {
  for (std::int64_t N : {63, 64, 65, 129, 199, 64 * 5, 64 * 64 + 1}) {
    CAPTURE(N);
    const Result expected = run_on(cpu(), N, 3);
    sim::for_each_schedule([&] { check_same(run_on(sim_device(), N, 3), expected); });
  }
  for (std::int64_t C : {31, 32, 33, 127, 128, 129}) {
    CAPTURE(C);
    const Result expected = run_on(cpu(), 131, C);
    sim::for_each_schedule([&] { check_same(run_on(sim_device(), 131, C), expected); });
  }
}

TEST_CASE("rmsnorm: the CUDA twin takes heads out of a fused product, whose rows have two strides") {
  const std::int64_t T = 3, H = 2, D = 17;
  const auto heads = [&](Device& device, unsigned seed) {
    return on(device, drawn(T * 4 * H * D, seed), {T, 4 * H, D}).slice(1, H, 2 * H);
  };
  const Result expected = run_on(cpu(), heads(cpu(), 1), heads(cpu(), 2), D);
  sim::for_each_schedule(
      [&] { check_same(run_on(sim_device(), heads(sim_device(), 1), heads(sim_device(), 2), D), expected); });
}

TEST_CASE("rmsnorm: the CUDA twin leaves out a gradient nobody wants") {
  const std::int64_t N = 3, C = 33;
  const Result both = run_on(sim_device(), N, C);
  const Tensor x = on(sim_device(), drawn(N * C, 1), {N, C}), dy = on(sim_device(), drawn(N * C, 2), {N, C});
  const Tensor w = on(sim_device(), drawn(C, 3), {C}), dw = on(sim_device(), drawn(C, 4), {C});
  const Tensor dx = unwritten(sim_device(), {N, C});
  rmsnorm_backward({.dx = dx, .dw = {}, .dy = dy, .x = x, .w = w, .rstd = both.rstd});
  rmsnorm_backward({.dx = {}, .dw = dw, .dy = dy, .x = x, .w = w, .rstd = both.rstd});
  CHECK(same_bits(dx, both.dx));
  CHECK(same_bits(dw, both.dw));
}

TEST_CASE("rmsnorm: the comparison finds a wrong backward") {
  const Result expected = run_on(cpu(), 1, 64);
  const Tensor dx = unwritten(sim_device(), {1, 64}), dy = on(sim_device(), drawn(64, 2), {1, 64});
  const Tensor w = on(sim_device(), drawn(64, 3), {64}), rstd = on(sim_device(), expected.rstd.to_vector<float>(), {1});
  launch(wrong_gradient, dim3{1}, dim3{64}, 0, nullptr, dx.data<float>(), dy.data<float>(), w.data<float>(),
         rstd.data<float>());
  CHECK_FALSE(same_bits(dx, expected.dx));
}
