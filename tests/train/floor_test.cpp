#include "train/floor.h"

#include <doctest/doctest.h>

#include "autograd/ops.h"

using namespace ov;

namespace {

// What a tape records of linear layers on N rows, then elementwise work.
double floor_of(Floor& floor, std::int64_t N, int layers, int sums) {
  Tape tape;
  Parameter w{.name = "w", .value = Tensor::zeros({128, 128}, Dtype::f32, cpu()), .main_grad = {}};
  w.main_grad = Tensor::zeros({128, 128}, Dtype::f32, cpu());
  Var h = tape.input(Tensor::zeros({N, 128}, Dtype::f32, cpu()), true);
  for (int i = 0; i < layers; ++i) h = linear(h, tape.parameter(w));
  for (int i = 0; i < sums; ++i) h = add(h, h);
  return floor.micro_batch(tape.nodes(), 4);
}

}  // namespace

TEST_CASE("floor: grows with layers, rows and elementwise work, and is below the time that the work takes") {
  Floor floor;
  const double one = floor_of(floor, 256, 1, 0), three = floor_of(floor, 256, 3, 0);
  CHECK(one > 0);
  CHECK(three == doctest::Approx(3 * one));  // rates are measured once and kept
  CHECK(floor_of(floor, 256, 1, 4) > one);
  // Two products of a backward pass and one of forward, 2 * 256 * 128 * 128 each: no machine does them in no time.
  CHECK(3 * 2.0 * 256 * 128 * 128 / one < 1e12);
  CHECK(floor.update(1 << 20, 2) > 0);
  CHECK(floor.update(1 << 20, 4) > floor.update(1 << 20, 2));
}
