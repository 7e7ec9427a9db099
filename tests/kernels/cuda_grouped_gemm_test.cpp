#include <doctest/doctest.h>

#include "kernels/experts.h"
#include "tests/kernels/cuda_twins.h"
#include "tests/kernels/sim_schedules.h"

using namespace ov;
using namespace ov::kernels;

namespace {

const std::vector<std::int64_t> some = {0, 0, 37, 40, 40, 170};  // rows of five experts: none, 37, 3, none, 130

enum Form { of_rows, to_inputs, to_weights };

Tensor drawn_on(Device& device, Dtype dtype, std::int64_t rows, std::int64_t columns, unsigned seed) {
  return Tensor::of(drawn(rows * columns, seed), {rows, columns}).to(dtype).to(device);
}

Tensor product_on(Device& device, Dtype dtype, Form form, std::int64_t F, std::int64_t C, bool accumulate,
                  const std::vector<std::int64_t>& offsets = some, bool wide = false) {
  const std::int64_t E = std::ssize(offsets) - 1, R = offsets.back();
  const auto result = [&](std::int64_t rows, std::int64_t columns) {
    const Tensor c = drawn_on(device, wide || form == to_weights ? Dtype::f32 : dtype, rows, columns, 3);
    if (!accumulate) c.fill(NAN);
    return c;
  };
  GroupedGemm g{.c = {}, .a = {}, .b = {}, .offsets = on(device, offsets, {E + 1}), .accumulate = accumulate};
  if (form == of_rows)
    g.c = result(R, F), g.a = drawn_on(device, dtype, R, C, 1), g.b = drawn_on(device, dtype, E * F, C, 2);
  if (form == to_inputs)
    g.c = result(R, C), g.a = drawn_on(device, dtype, R, F, 1), g.b = drawn_on(device, dtype, E * F, C, 2);
  if (form == to_weights)
    g.c = result(E * F, C), g.a = drawn_on(device, dtype, R, F, 1), g.b = drawn_on(device, dtype, R, C, 2);
  g.trans_a = form == to_weights, g.trans_b = form == of_rows;
  grouped_gemm(g);
  return g.c;
}

// The largest difference from the CPU's f32 product as a share of what n roundings each can do, n the longest sum.
double share(const Tensor& got, const Tensor& expected, double n, double largest, bool stored_in_bf16) {
  const auto x = got.to(Dtype::f64).to_vector<double>(), y = expected.to(Dtype::f64).to_vector<double>();
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double bound = 2 * n * 0x1p-24 * n * largest + (stored_in_bf16 ? 0x1p-8 * std::abs(y[i]) : 0);
    const double off = std::abs(x[i] - y[i]);
    worst = std::max(worst, std::isnan(off) ? INFINITY : off / bound);
  }
  return worst;
}

}  // namespace

TEST_CASE("grouped product: the CUDA twin gives the CPU's bits for shapes that do not fit tensor cores") {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const Form form : {of_rows, to_inputs, to_weights})
      for (const bool accumulate : {false, true})
        for (const auto& [F, C] : {std::pair{std::int64_t{5}, std::int64_t{41}}, {33, 7}}) {
          CAPTURE(name_of(dtype));
          CAPTURE(int(form));
          CAPTURE(accumulate);
          CAPTURE(F);
          const Tensor expected = product_on(cpu(), dtype, form, F, C, accumulate);
          for (const sim::Order order : {sim::Order::forward, sim::Order::random}) {
            const sim::ScheduleScope scope({order, 1});
            CHECK(same_bits(product_on(sim_device(), dtype, form, F, C, accumulate), expected));
          }
        }
  // Sums longer than one chain of 384, and no rows at all.
  for (const Form form : {of_rows, to_inputs}) {
    const std::int64_t F = form == of_rows ? 3 : 777, C = form == of_rows ? 777 : 3;
    CHECK(same_bits(product_on(sim_device(), Dtype::f32, form, F, C, false, {0, 2, 5}),
                    product_on(cpu(), Dtype::f32, form, F, C, false, {0, 2, 5})));
  }
  CHECK(same_bits(product_on(sim_device(), Dtype::f32, to_weights, 3, 4, false, {0, 0, 0}),
                  product_on(cpu(), Dtype::f32, to_weights, 3, 4, false, {0, 0, 0})));
  CHECK(product_on(sim_device(), Dtype::f32, of_rows, 3, 4, false, {0, 0, 0}).numel() == 0);
}

TEST_CASE(
    "grouped product: the CUDA twin on tensor cores is within f32's roundings, with the same bits in every order "
    "(G-51)") {
  for (const Form form : {of_rows, to_inputs, to_weights})
    for (const bool wide : {false, true}) {
      CAPTURE(int(form));
      const std::int64_t F = 136, C = 72;
      const bool accumulate = form == to_weights && wide;
      const Tensor expected = product_on(cpu(), Dtype::bf16, form, F, C, accumulate, some, true);
      const Tensor got = product_on(sim_device(), Dtype::bf16, form, F, C, accumulate, some, wide);
      const double n = form == of_rows ? C : form == to_inputs ? F : 130;
      CHECK(share(got, expected, n + 1, 16, got.dtype() == Dtype::bf16) <= 1);
      CHECK(share(got, product_on(cpu(), Dtype::bf16, form, F, C, !accumulate, some, true), n + 1, 16, true) > 1);
      if (wide) continue;
      for (const sim::Order order : {sim::Order::reverse, sim::Order::random}) {
        const sim::ScheduleScope scope({order, 1});
        CHECK(same_bits(product_on(sim_device(), Dtype::bf16, form, F, C, accumulate, some, wide), got));
      }
    }
}

TEST_CASE("grouped product: a row's bits depend on the row and its expert, not on who comes with it (G-38)") {
  const std::int64_t F = 24, C = 40;
  // Row 2 of the arrays is a row of the second expert in all three.
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    std::vector<Tensor> rows;
    for (const std::vector<std::int64_t>& offsets : {std::vector<std::int64_t>{0, 2, 5}, {0, 1, 3}, {0, 0, 140}})
      rows.push_back(product_on(sim_device(), dtype, of_rows, F, C, false, offsets).slice(0, 2, 3));
    CHECK(same_bits(rows[0], rows[1]));
    CHECK(same_bits(rows[0], rows[2]));
  }
}
