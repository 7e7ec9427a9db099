#include <doctest/doctest.h>

#include "kernels/cross_entropy.h"
#include "tests/kernels/cuda_twins.h"
#include "tests/kernels/sim_schedules.h"

using namespace ov;
using namespace ov::kernels;

namespace {

struct Result {
  Tensor loss, token_loss, lse, dlogits;
};

// Every third row has weight 0 and the target -100; the other weights are signed.
Result run_on(Device& device, std::int64_t N, std::int64_t V, double denominator) {
  const Tensor logits = on(device, drawn(N * V, 1), {N, V});
  std::vector<float> weights = drawn(N, 2);
  std::vector<std::int64_t> targets(static_cast<std::size_t>(N));
  for (std::size_t n = 0; n < targets.size(); ++n) {
    targets[n] = n % 3 == 2 ? -100 : static_cast<std::int64_t>(n * 7919 + 5) % V;
    if (targets[n] < 0) weights[n] = 0;
  }
  const Tensor t = on(device, targets, {N}), w = on(device, weights, {N});
  Result r{unwritten(device, {1}), unwritten(device, {N}), unwritten(device, {N, 2}), unwritten(device, {N, V})};
  cross_entropy_forward({.loss = r.loss,
                         .token_loss = r.token_loss,
                         .lse = r.lse,
                         .logits = logits,
                         .targets = t,
                         .weights = w,
                         .denominator = denominator});
  cross_entropy_backward({.dlogits = r.dlogits,
                          .dloss = on(device, std::vector<float>{1.5f}, {1}),
                          .logits = logits,
                          .targets = t,
                          .weights = w,
                          .lse = r.lse,
                          .denominator = denominator});
  return r;
}

void check_same(std::int64_t N, std::int64_t V, double denominator) {
  CAPTURE(N);
  CAPTURE(V);
  const Result expected = run_on(cpu(), N, V, denominator);
  sim::for_each_schedule([&] {
    const Result got = run_on(sim_device(), N, V, denominator);
    CHECK(same_bits(got.loss, expected.loss));
    CHECK(same_bits(got.token_loss, expected.token_loss));
    CHECK(same_bits(got.lse, expected.lse));
    CHECK(same_bits(got.dlogits, expected.dlogits));
  });
}

}  // namespace

TEST_CASE("cross entropy: the CUDA twin gives the CPU's bits in every thread order, at every edge size (G-55)") {
  for (std::int64_t V : edge_sizes) check_same(4, V, 2.75);
  for (std::int64_t N : {1, 15, 16, 17, 257, 2049}) check_same(N, 5, 2.75);
}

TEST_CASE("cross entropy: a denominator of 0 gives a loss and gradients of 0 in the CUDA twin (G-55)") {
  const Result r = run_on(sim_device(), 5, 33, 0);
  CHECK(r.loss.to_vector<float>() == std::vector<float>{0.f});
  CHECK(r.dlogits.to_vector<float>() == std::vector<float>(5 * 33, 0.f));
}

TEST_CASE("cross entropy: the CUDA twin answers NaN to a target outside of the vocabulary") {
  for (std::int64_t target : {-1, 3}) {
    const Tensor loss = unwritten(sim_device(), {1}), token_loss = unwritten(sim_device(), {1});
    cross_entropy_forward({.loss = loss,
                           .token_loss = token_loss,
                           .lse = unwritten(sim_device(), {1, 2}),
                           .logits = on(sim_device(), std::vector<float>{1, 2, 3}, {1, 3}),
                           .targets = on(sim_device(), std::vector<std::int64_t>{target}, {1}),
                           .weights = on(sim_device(), std::vector<float>{1}, {1}),
                           .denominator = 1});
    CHECK(std::isnan(loss.data<float>()[0]));
  }
}
