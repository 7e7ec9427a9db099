#include "train/floor.h"

#include <doctest/doctest.h>

#include "autograd/ops.h"
#include "base/parallel.h"
#include "tests/model/packed_rows.h"
#include "train/step_times.h"
#include "train/trainer.h"

using namespace ov;
using namespace ov::test;

namespace {

// What a tape records of linear layers on N rows, then elementwise work.
double floor_of(Floor& floor, std::int64_t N, int layers, int sums) {
  Tape tape;
  Parameter w{.name = "w", .value = Tensor::zeros({128, 128}, Dtype::f32, cpu()), .main_grad = {}};
  w.main_grad = Tensor::zeros({128, 128}, Dtype::f32, cpu());
  Var h = tape.input(Tensor::zeros({N, 128}, Dtype::f32, cpu()), true);
  for (int i = 0; i < layers; ++i) h = linear(h, tape.parameter(w));
  for (int i = 0; i < sums; ++i) h = add(h, h);
  return BatchTimes{.ops = {}, .floor = floor.micro_batch(tape.nodes(), 4)}.floor_seconds();
}

}  // namespace

TEST_CASE("floor: grows with layers, rows and elementwise work, and is below the time that the work takes") {
  Floor floor;
  const double one = floor_of(floor, 256, 1, 0), three = floor_of(floor, 256, 3, 0);
  CHECK(one > 0);
  CHECK(three == doctest::Approx(3 * one));  // rates are measured and kept for a while
  CHECK(floor_of(floor, 256, 1, 4) > one);
  // Two products of a backward pass and one of forward, 2 * 256 * 128 * 128 each: no machine does them in no time.
  CHECK(3 * 2.0 * 256 * 128 * 128 / one < 1e12);
  CHECK(floor.update(1 << 20, 2) > 0);
  CHECK(floor.update(1 << 20, 4) > floor.update(1 << 20, 2));
}

TEST_CASE(
    "step times: every operation of the model has its share, all of them fit into the steps, and no bit changes") {
  const auto run = [](bool floor, Json* times) {
    const auto model = small_model(Dtype::f32);
    std::vector<MicroBatch> rows(2);
    add_sample(rows[0], 1, 2, 4, 40);
    add_sample(rows[1], 2, 4, 4, 30);
    FixedSteps data({as_step(rows)});
    TrainOptions options;
    options.schedule = {.peak = 1e-2, .min = 1e-3, .warmup = 0, .first_step = 1};
    options.floor = floor;
    Trainer trainer(*model, data, options);
    double sum = 0;
    for (int i = 0; i < 40; ++i) sum += trainer.step().gradient_norm;
    CHECK(trainer.times().steps() == (floor ? 40 : 0));
    if (times) *times = trainer.times().json();
    return sum;
  };
  Json times;
  CHECK(run(true, &times) == run(false, nullptr));
  double ops = 0;
  for (const auto& [name, pair] : times.at("ops").members()) {
    CAPTURE(name);
    CHECK(pair.items()[0].as_double() > 0);
    ops += pair.items()[0].as_double();
  }
  for (const char* name : {"linear", "attention", "rms_norm", "rope", "swiglu", "gelu", "cross_entropy", "embedding"}) {
    CAPTURE(name);
    CHECK(times.at("ops").at(name).items()[1].as_double() > 0);
  }
  const double whole = times.at("seconds").as_double();
  CHECK(times.at("data_seconds").as_double() + times.at("update_seconds").as_double() < whole);
  CHECK(ops < threads() * whole);
  CHECK(ops > 0.1 * whole);  // the first step's measurements of rates are in the whole, about 0.1 s
}
