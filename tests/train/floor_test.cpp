#include "train/floor.h"

#include <doctest/doctest.h>

#include <numeric>

#include "autograd/ops.h"
#include "base/parallel.h"
#include "kernels/cpu/peak.h"
#include "tests/model/packed_rows.h"
#include "train/objectives/language.h"
#include "train/step_times.h"

using namespace ov;
using namespace ov::test;

namespace {

// A machine of round numbers: 1e9 multiply-adds a second, 1e6 for products that are transposed on the left, 1e8 bytes,
// 1e7 exponentials, 1e6 values of erf.
struct KnownMachine {
  std::vector<std::array<std::int64_t, 3>> measured;
  Machine machine() {
    return {[this](std::array<std::int64_t, 3> mnk, bool trans_a, bool) {
              measured.push_back(mnk);
              return static_cast<double>(mnk[0] * mnk[1] * mnk[2]) / (trans_a ? 1e6 : 1e9);
            },
            [] { return 1e8; }, [] { return 1e7; }, [] { return 1e6; }};
  }
};

template <class F>
Floor::Leaf floors_of(Floor& floor, F&& record) {
  Tape tape;
  OpTimes times;
  tape.measure(&times);
  const Var y = record(tape);
  if (tape.wants(y)) tape.backward(y, Tensor::zeros(y.shape(), Dtype::f32, cpu()));
  return floor.leaf(times.done);
}

double sum_of(const OpTimes::Seconds& seconds) { return std::accumulate(seconds.begin(), seconds.end(), 0.0); }

template <class F>
double floor_of(Floor& floor, F&& record) {
  return sum_of(floors_of(floor, record).floor);
}

Tensor some(const Shape& shape) { return Tensor::zeros(shape, Dtype::f32, cpu()); }

}  // namespace

TEST_CASE("floor: products at the rate of their shape, attention as products of a tile, the rest as bytes") {
  KnownMachine known;
  Floor floor(known.machine());
  const double N = 70, C = 40, F = 100;
  const auto layer = [&](bool x, bool w) {
    return floor_of(floor, [&](Tape& t) { return linear(t.input(some({70, 40}), x), t.input(some({100, 40}), w)); });
  };
  CHECK(layer(false, false) == doctest::Approx(N * C * F / 1e9).epsilon(1e-12));
  CHECK(known.measured.back() == std::array<std::int64_t, 3>{96, 128, 64});  // rounded up; the time is the share
  CHECK(layer(true, false) == doctest::Approx(2 * N * C * F / 1e9).epsilon(1e-12));
  CHECK(layer(true, true) == doctest::Approx(2 * N * C * F / 1e9 + N * C * F / 1e6).epsilon(1e-12));
  const std::size_t shapes = known.measured.size();
  CHECK(shapes == 3);
  layer(true, true);
  CHECK(known.measured.size() == shapes);  // kept for a while

  const auto segments = std::make_shared<kernels::Segments>(kernels::SegmentTable{{0, 9, 0, 9}}, 9, 9, false, cpu());
  const auto attend = [&](bool q) {
    return floor_of(floor, [&](Tape& t) {
      return attention(t.input(some({9, 2, 8}), q), t.input(some({9, 2, 8})), t.input(some({9, 2, 8})), {segments, 1});
    });
  };
  const double one = 2 * 8 * 81 / 1e9, exps = 2 * 81 / 1e7;  // a product and e^x for every head and visible pair
  CHECK(attend(false) == doctest::Approx(2 * one + exps).epsilon(1e-12));
  CHECK(attend(true) == doctest::Approx(7 * one + 2 * exps).epsilon(1e-12));
  // A value of erf forward, one of each backward: longer than the bytes take, which the plain floor counts alone.
  const Floor::Leaf g = floors_of(floor, [&](Tape& t) { return gelu(t.input(some({5, 7}), true)); });
  CHECK(sum_of(g.floor) == doctest::Approx(35 * (2 / 1e6 + 1 / 1e7)).epsilon(1e-12));
  CHECK(sum_of(g.plain) == doctest::Approx(5 * 35 * 4 / 1e8).epsilon(1e-12));
  // One of e^x in either pass; backward the bytes take longer.
  CHECK(floor_of(floor, [&](Tape& t) {
          return gelu(t.input(some({5, 7}), true), kernels::GeluForm::quick);
        }) == doctest::Approx(35 / 1e7 + 3 * 35 * 4 / 1e8).epsilon(1e-12));
}

TEST_CASE("floor: the update zeroes and adds every leaf's gradients and moves AdamW's arrays, on all threads") {
  KnownMachine known;
  Floor floor(known.machine());
  const int before = threads();
  for (const int n : {1, 2}) {
    set_threads(n);
    // One leaf: zeroed, read for the norm, AdamW's seven. Each further one is zeroed, read and added to another.
    CHECK(floor.update(1000, 1) == doctest::Approx(9 * 4000 / 1e8 / n).epsilon(1e-12));
    CHECK(floor.update(1000, 3) == doctest::Approx((9 + 2 * 4) * 4000 / 1e8 / n).epsilon(1e-12));
  }
  set_threads(before);
}

TEST_CASE("floor: the measured machine takes longer for more, and no product in no time") {
  const Machine m = measured_machine();
  const double small = m.product_seconds({32, 32, 32}, false, true),
               large = m.product_seconds({256, 256, 256}, false, true);
  CHECK(small > 0);
  CHECK(large > 16 * small);  // 512 times the work
  CHECK(2.0 * 256 * 256 * 256 / large < 1e12);
  CHECK(m.bandwidth() > 1e7);
  CHECK(m.bandwidth() < 1e12);
  for (const auto& rate : {m.exp_rate, m.erf_rate}) {
    CHECK(rate() > 1e6);
    CHECK(rate() < kernels::cpu::fma_peak_flops(1) / 8);  // each takes more than four multiply-adds
  }
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
    Training trainer(*model, data, options);
    double sum = 0;
    for (int i = 0; i < 40; ++i) sum += trainer.step().gradient_norm;
    CHECK(trainer.times().steps() == (floor ? 40 : 0));
    if (times) *times = trainer.times().json();
    return sum;
  };
  Json times;
  CHECK(run(true, &times) == run(false, nullptr));
  double ops = 0;
  for (const auto& op : times.at("ops").members()) {
    CAPTURE(op.first);
    CHECK(op.second.items()[0].as_double() > 0);
    ops += op.second.items()[0].as_double();
  }
  for (const char* name : {"linear", "attention", "rms_norm", "rope", "swiglu", "gelu", "cross_entropy", "embedding"}) {
    CAPTURE(name);
    CHECK(times.at("ops").at(name).items()[1].as_double() > 0);
  }
  const double whole = times.at("seconds").as_double();
  CHECK(times.at("data_seconds").as_double() + times.at("update_seconds").as_double() < whole);
  CHECK(ops < threads() * whole);
}
