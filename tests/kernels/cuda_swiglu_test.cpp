#include <doctest/doctest.h>

#include "base/math.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/swiglu.h"
#include "tests/kernels/cuda_twins.h"
#include "tests/kernels/sim_schedules.h"

using namespace ov;
using namespace ov::kernels;

namespace {

struct Result {
  Tensor y, dgate, dup;
};

// gate and up are the halves of one [N,2F] buffer when `fused`, and so are their gradients.
Result run_on(Device& device, std::int64_t N, std::int64_t F, bool fused) {
  const Tensor gate_up = on(device, drawn(N * 2 * F, 1), {N, 2 * F}), dgate_up = unwritten(device, {N, 2 * F});
  const auto half = [&](const Tensor& both, int which) {
    const Tensor view = both.slice(1, which * F, (which + 1) * F);
    return fused ? view : view.contiguous_copy();
  };
  const Tensor gate = half(gate_up, 0), up = half(gate_up, 1);
  Result r{unwritten(device, {N, F}), half(dgate_up, 0), half(dgate_up, 1)};
  swiglu_forward({.y = r.y, .gate = gate, .up = up});
  swiglu_backward({.dgate = r.dgate, .dup = r.dup, .dy = on(device, drawn(N * F, 2), {N, F}), .gate = gate, .up = up});
  return r;
}

// σ'(g) forgotten: dgate = dy up σ(g).
__global__ void wrong_gradient(float* dgate, const float* dy, const float* gate, const float* up) {
  const int i = threadIdx.x;
  dgate[i] = dy[i] * up[i] * math::sigmoid(gate[i]);
}

struct CountVisits {
  int* visits;
  std::int64_t columns;
  template <int>
  void at(std::int64_t n, std::int64_t p) const {
    ++visits[n * columns + p];
  }
};

}  // namespace

TEST_CASE("swiglu: the CUDA twin gives the CPU's bits in every thread order, whole and fused") {
  for (std::int64_t N : {1, 3})
    for (std::int64_t F : edge_sizes)
      for (bool fused : {false, true}) {
        CAPTURE(N);
        CAPTURE(F);
        CAPTURE(fused);
        const Result expected = run_on(cpu(), N, F, fused);
        sim::for_each_schedule([&] {
          const Result got = run_on(sim_device(), N, F, fused);
          CHECK(same_bits(got.y, expected.y));
          CHECK(same_bits(got.dgate, expected.dgate));
          CHECK(same_bits(got.dup, expected.dup));
        });
      }
}

TEST_CASE("elementwise: rows and packets beyond the grid's threads are each visited once") {
  sim::for_each_schedule([] {
    std::vector<int> visits(19 * 7);
    launch(simulated::each_packet<1, CountVisits>, dim3(2, 3), dim3(4, 2), 0, nullptr, CountVisits{visits.data(), 7},
           19, 7);
    CHECK(visits == std::vector<int>(19 * 7, 1));
  });
}

TEST_CASE("swiglu: the CUDA twin leaves out a gradient nobody wants") {
  const std::int64_t N = 3, F = 17;
  const Result both = run_on(sim_device(), N, F, false);
  const Tensor gate_up = on(sim_device(), drawn(N * 2 * F, 1), {N, 2 * F}),
               dy = on(sim_device(), drawn(N * F, 2), {N, F});
  const Tensor gate = gate_up.slice(1, 0, F), up = gate_up.slice(1, F, 2 * F);
  const Tensor dgate = unwritten(sim_device(), {N, F}), dup = unwritten(sim_device(), {N, F});
  swiglu_backward({.dgate = dgate, .dup = {}, .dy = dy, .gate = gate, .up = up});
  swiglu_backward({.dgate = {}, .dup = dup, .dy = dy, .gate = gate, .up = up});
  CHECK(same_bits(dgate, both.dgate));
  CHECK(same_bits(dup, both.dup));
}

TEST_CASE("swiglu: the comparison finds a wrong backward") {
  const Result expected = run_on(cpu(), 1, 64, false);
  const Tensor gate_up = on(sim_device(), drawn(128, 1), {1, 128}), dy = on(sim_device(), drawn(64, 2), {1, 64});
  const Tensor dgate = unwritten(sim_device(), {1, 64});
  launch(wrong_gradient, dim3{1}, dim3{64}, 0, nullptr, dgate.data<float>(), dy.data<float>(), gate_up.data<float>(),
         gate_up.data<float>() + 64);
  CHECK_FALSE(same_bits(dgate, expected.dgate));
}

TEST_CASE("swiglu: a type without a CUDA kernel is an error that names it") {
  const Tensor t({2, 3}, Dtype::f64, sim_device());
  CHECK_THROWS_WITH_AS(swiglu_forward({.y = t, .gate = t, .up = t}), "no CUDA kernel for f64 here; f32 and bf16 exist",
                       Error);
}
