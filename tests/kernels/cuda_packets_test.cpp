// Kernels that go along rows move packets of 16 bytes where all their arrays allow it, and single numbers elsewhere:
// the CPU's bits either way, in every thread order. A packet at an address that is no multiple of 16 is a fault.
#include <doctest/doctest.h>

#include "base/sum.h"
#include "kernels/cuda/reduce.h"
#include "tests/kernels/cuda_attention.h"
#include "tests/kernels/cuda_row_calls.h"
#include "tests/kernels/sim_schedules.h"

using namespace ov;
using namespace ov::kernels;
using namespace ov::test;

namespace {

// Its results, and how many packets its kernels moved.
std::vector<Tensor> results_of(const Call& call, Arrays arrays, std::int64_t C, std::int64_t& packets, int& made) {
  const std::int64_t before = sim::packets_moved;
  call.run(arrays, C);
  packets = sim::packets_moved - before, made = arrays.made;
  return arrays.results;
}

void check_same(const std::vector<Tensor>& got, const std::vector<Tensor>& expected) {
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(same_bits(got[i], expected[i]));
}

// Each column of a row, seen by packets of the width that goes.
template <class Team>
__global__ void sum_and_visit(double* sums, int* visits, const float* x, simulated::Columns<4> columns) {
  const Team team;
  x += team.row() * columns.count, visits += team.row() * columns.count;
  const double total = simulated::row_sum<double>(team, columns, [&](auto width, int p) {
    return simulated::each([](float x) { return double(x) * double(x); }, simulated::load<width>(x, p));
  });
  simulated::walk(team, columns, [&](auto width, int p) {
    for (int i = 0; i < width; ++i) ++visits[p * width + i];
  });
  sums[team.row() * team.threads() + team.thread()] = total;
}

template <class Team>
void check_team(std::int64_t n, bool wide) {
  const std::int64_t rows = Team::rows;
  const std::vector<float> x = drawn(rows * n, 3);
  const unsigned threads = rows == 1 ? simulated::row_threads(n) : simulated::max_row_threads;
  std::vector<double> sums(threads);
  std::vector<int> visits(x.size());
  launch(sum_and_visit<Team>, dim3(1), dim3(threads), 0, nullptr, sums.data(), visits.data(), x.data(),
         simulated::Columns<4>{static_cast<int>(n), wide});
  CHECK(visits == std::vector<int>(x.size(), 1));
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const float* row = x.data() + static_cast<std::int64_t>(i / (threads / static_cast<std::size_t>(rows))) * n;
    REQUIRE(sums[i] == ov::sum<double>(n, [&](std::int64_t c) { return double(row[c]) * double(row[c]); }));
  }
}

}  // namespace

TEST_CASE("packets: a block and sixteen lanes sum rows in the CPU's order, by packets and by single numbers") {
  for (const std::int64_t n : {4, 16, 60, 128, 132, 2048, 2052, 4100})
    for (const bool wide : {true, false})
      sim::for_each_schedule([&] {
        CAPTURE(n);
        check_team<simulated::Block>(n, wide);
        check_team<simulated::HalfWarp>(n, wide);
      });
}

TEST_CASE("packets: kernels move them where every array allows it, else nothing of 16 bytes, with the CPU's bits") {
  for (const Call& call : row_calls)
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
      for (const Lay lay : lays)
        for (const std::int64_t C : {16, 20, 24, 254, 2064}) {
          CAPTURE(call.name);
          CAPTURE(dtype);
          CAPTURE(C);
          const std::int64_t width = dtype == Dtype::f32 ? 4 : 8;
          const bool wide = (lay == Lay::aligned || lay == Lay::whole_gaps) && C / call.rows_of % width == 0;
          std::int64_t packets = 0;
          int made = 0;
          const auto expected = results_of(call, {ov::cpu(), dtype, lay}, C, packets, made);
          sim::for_each_schedule([&] {
            check_same(results_of(call, {sim_device(), dtype, lay}, C, packets, made), expected);
            CHECK((packets > 0) == wide);
          });
        }
}

TEST_CASE("packets: one array that does not lie on them is enough for single numbers, whichever it is") {
  for (const Call& call : row_calls)
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
      for (const Lay lay : {Lay::shifted, Lay::odd_gaps}) {
        std::int64_t packets = 0;
        int made = 1;
        for (int which = 0; which < made; ++which) {  // a packet on it would be a fault
          CAPTURE(call.name);
          CAPTURE(dtype);
          CAPTURE(which);
          const auto expected = results_of(call, {ov::cpu(), dtype, lay, which}, 48, packets, made);
          check_same(results_of(call, {sim_device(), dtype, lay, which}, 48, packets, made), expected);
        }
      }
}

TEST_CASE("packets: squared sums take any part of an array, and its last chunk may end within a packet") {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const std::int64_t from : {0, 1, 8})
      for (const std::int64_t n : {8, 4096, 8192, 4099, 8200}) {
        const auto on_device = [&](Device& d) {
          const Tensor x = on(d, drawn(n + 8, 1), {n + 8}).to(dtype).slice(0, from, from + n);
          const Tensor partial({(n + norm_chunk - 1) / norm_chunk}, Dtype::f64, d);
          squared_sums({.partial = partial, .x = x});
          return partial;
        };
        const std::int64_t before = sim::packets_moved;
        CHECK(same_bits(on_device(sim_device()), on_device(ov::cpu())));
        CHECK((sim::packets_moved > before) == (from != 1));
      }
}

TEST_CASE("packets: attention's gradient reads outputs and their gradients wherever they lie") {
  const AttentionCase c = {"causal", {{0, 9, 0, 9}}, 9, 9, true};
  for (const std::int64_t D : {16, 20})
    for (const Lay lay : lays)
      for (const int which : {-1, 3, 7}) {  // all of them, d_o, o
        const auto gradients = [&](Device& device) {
          Arrays a{device, Dtype::f32, lay, which};
          AttentionBackward args{.dq = a.out({9, 2, D}),
                                 .dk = a.out({9, 2, D}),
                                 .dv = a.out({9, 2, D}),
                                 .d_o = a.in({9, 2, D}, 1),
                                 .q = a.in({9, 2, D}, 2),
                                 .k = a.in({9, 2, D}, 3),
                                 .v = a.in({9, 2, D}, 4),
                                 .o = a.in({9, 2, D}, 5),
                                 .lse = a.f32({9, 2}, 6),
                                 .segments = Segments(c.table, 9, 9, true, device).rows,
                                 .causal = true,
                                 .scale = 0.01};
          attention_backward(args);
          return a.results;
        };
        const auto expected = gradients(ov::cpu());
        sim::for_each_schedule([&] { check_same(gradients(sim_device()), expected); });
      }
}
