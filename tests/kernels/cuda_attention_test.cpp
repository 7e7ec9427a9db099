#include "tests/kernels/cuda_attention.h"

#include <doctest/doctest.h>

using namespace ov;
using namespace ov::test;
namespace simulated = ov::kernels::simulated;

namespace {

AttentionResult on_cpu(Dtype dtype, const AttentionCase& c, std::int64_t H, std::int64_t K, std::int64_t D) {
  return attend_on(cpu(), dtype, c, H, K, D, kernels::attention_forward, kernels::attention_backward);
}
AttentionResult plain(Dtype dtype, const AttentionCase& c, std::int64_t H, std::int64_t K, std::int64_t D) {
  return attend_on(
      sim_device(), dtype, c, H, K, D,
      [](const auto& a) { simulated::plain_attention_forward(a, scratch_of(a, false), nullptr); },
      [](const auto& a) { simulated::plain_attention_backward(a, scratch_of(a, false), nullptr); });
}

}  // namespace

TEST_CASE(
    "attention: the plain CUDA twin gives the CPU's bits for every kind of segment, in every thread order (G-22, "
    "G-24)") {
  for (const AttentionCase& c : attention_cases)
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      CAPTURE(c.name);
      CAPTURE(name_of(dtype));
      const AttentionResult expected = on_cpu(dtype, c, 4, 2, 16);
      for (const sim::Schedule s :
           {sim::Schedule{sim::Order::forward, 0}, {sim::Order::reverse, 0}, {sim::Order::random, 1}}) {
        const sim::ScheduleScope scope(s);
        check_same(plain(dtype, c, 4, 2, 16), expected);
      }
    }
}

TEST_CASE("attention: the plain CUDA twin gives the CPU's bits at every head width") {
  for (const std::int64_t D : {1, 5, 32, 64, 80, 128, 240}) {
    CAPTURE(D);
    const AttentionCase& c = attention_cases[2];
    const std::int64_t H = D > 64 ? 1 : 3;
    check_same(plain(Dtype::f32, c, H, 1, D), on_cpu(Dtype::f32, c, H, 1, D));
  }
  CHECK(
      contains(thrown([] { plain(Dtype::f32, attention_cases[0], 1, 1, 241); }), "heads of 241 numbers; at most 240"));
}
