#include "kernels/region_attention.h"

#include <doctest/doctest.h>

#include "tests/kernels/cuda_twins.h"
#include "tests/kernels/sim_schedules.h"

using namespace ov;
using namespace ov::kernels;

namespace {

struct Result {
  Tensor o, lse, dq, dk, dv;
};

// Regions that overlap, one of a single row, one that lists a row twice, one of `most` rows; a row that nobody sees.
Result run_on(Device& device, Dtype dtype, std::int64_t H, std::int64_t D, std::int64_t most) {
  RegionTable table{{0, 3, 4, 7}, {0, 2, 3, 2, 5, 1, 5}};
  for (std::int64_t i = 0; i < most; ++i) table.rows.push_back((i * 7 + 3) % (most + 4));
  table.begin.push_back(most + 7);
  const std::int64_t R = 4, N = most + 5;
  const RegionSegments regions(table, N, device);
  const auto drawn_heads = [&](std::int64_t rows, unsigned seed) {
    return Tensor::of(drawn(rows * (H + 1) * D, seed), {rows, H + 1, D}).to(dtype).to(device).slice(1, 1, H + 1);
  };
  const auto empty = [&](std::int64_t rows) {
    const std::vector<float> nothing(static_cast<std::size_t>(rows * H * D), NAN);
    return Tensor::of(nothing, {rows, H, D}).to(dtype).to(device);
  };
  const Tensor q = drawn_heads(R, 1), k = drawn_heads(N, 2), v = drawn_heads(N, 3), d_o = drawn_heads(R, 4);
  Result r{empty(R), unwritten(device, {R, H}), empty(R), empty(N), empty(N)};
  region_attention_forward(
      {.o = r.o, .lse = r.lse, .q = q, .k = k, .v = v, .begin = regions.begin, .rows = regions.rows, .scale = 0.1});
  region_attention_backward({.dq = r.dq,
                             .dk = r.dk,
                             .dv = r.dv,
                             .d_o = d_o,
                             .q = q,
                             .k = k,
                             .v = v,
                             .o = r.o,
                             .lse = r.lse,
                             .begin = regions.begin,
                             .rows = regions.rows,
                             .scale = 0.1});
  return r;
}

void check_same(Dtype dtype, std::int64_t H, std::int64_t D, std::int64_t most) {
  CAPTURE(name_of(dtype));
  CAPTURE(D);
  CAPTURE(most);
  const Result expected = run_on(cpu(), dtype, H, D, most);
  for (const sim::Schedule s :
       {sim::Schedule{sim::Order::forward, 0}, {sim::Order::reverse, 0}, {sim::Order::random, 1}}) {
    const sim::ScheduleScope scope(s);
    const Result got = run_on(sim_device(), dtype, H, D, most);
    CHECK(same_bits(got.o, expected.o));
    CHECK(same_bits(got.lse, expected.lse));
    CHECK(same_bits(got.dq, expected.dq));
    CHECK(same_bits(got.dk, expected.dk));
    CHECK(same_bits(got.dv, expected.dv));
  }
}

}  // namespace

TEST_CASE("region attention: the CUDA twin gives the CPU's bits in every thread order, in f32 and in bf16") {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    for (const std::int64_t most : {1, 127, 128, 129, 300}) check_same(dtype, 2, 16, most);
    for (const std::int64_t D : {1, 5, 64, 128, 256}) check_same(dtype, 1, D, 20);
  }
}
