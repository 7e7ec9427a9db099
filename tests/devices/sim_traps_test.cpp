// What goes wrong on a GPU in the middle of work: tables that the host has already freed, a launch that fails, memory
// that runs out.
#include <doctest/doctest.h>

#include "kernels/segments.h"
#include "kernels/table.h"
#include "tests/devices/sim_device.h"
#include "tests/kernels/cuda_twins.h"
#include "tests/kernels/edge_example.h"
#include "tests/train/training_run.h"
#include "train/checksums.h"

using namespace ov;
using namespace ov::test;
using Policy = ForeignDevice::Policy;

TEST_CASE("tables and tensors made from the host's memory are right when that was freed before the copy ran (G-61)") {
  for (const Policy policy : {Policy::lazy, Policy::others_first}) {
    SimDevice d(policy);
    const auto upload = [&](const std::vector<float>& values) {
      auto host = values;
      const Tensor t = on(d, host, {1, std::int64_t(host.size())});
      std::fill(host.begin(), host.end(), NAN);  // and gone at the end
      return t;
    };
    auto table = std::make_unique<kernels::SegmentTable>(kernels::SegmentTable{{0, 2, 0, 2}, {2, 3, 2, 3}});
    const kernels::Segments segments(*table, 5, 5, true, d);
    for (auto& s : *table) s = {};
    table.reset();
    const Tensor x = upload({1, 2, 3, 4, 5}), y = Tensor::like(x);
    kernels::add({.y = y, .a = x, .b = x});
    CHECK(y.to_vector<float>() == std::vector<float>{2, 4, 6, 8, 10});
    const kernels::Segments here({{0, 2, 0, 2}, {2, 3, 2, 3}}, 5, 5, true, cpu());
    CHECK(same_bits(segments.rows.to(cpu()), here.rows));
  }
}

TEST_CASE(
    "whichever launch of an op fails, its error comes out once, and everything ends without another (G-14, G-62)") {
  for (const OpRow* op : rows()) {
    std::int64_t launches = 0;
    {
      SimDevice d(Policy::lazy);
      run(op->example, Dtype::f32, d, -1, 0);
      launches = d.simulated().counts().launches;
    }
    CHECK(launches > 0);
    for (std::int64_t k = 1; k <= launches; ++k) {
      std::string said;
      {
        SimDevice d(Policy::lazy);
        d.simulated().fail(k);
        try {
          run(op->example, Dtype::f32, d, -1, 0);
          d.synchronize();
        } catch (const std::exception& e) { said = e.what(); }
      }
      const std::string at = cat(op->name, ", launch ", k, ": ", said);
      CHECK_MESSAGE(said.starts_with("planted; "), at);
      CHECK_MESSAGE(contains(said, ", queued at "), at);
    }
  }
}

TEST_CASE("a step that runs out of memory says what is full, and has changed neither parameters nor moments (G-63)") {
  int in_the_step = 0, done = 0;
  for (std::size_t capacity = std::size_t{1} << 18; done < 3; capacity += capacity / 16) {
    ForeignDevice device(Policy::lazy, 0, capacity / 4096 * 4096);
    std::unique_ptr<Onevision> model;
    std::unique_ptr<Training> training;
    FixedSteps data({as_step({mixed_row(1), mixed_row(2)})});
    const auto state = [&] {
      const auto sum = [](const Tensor& t) { return tensor_checksum(t); };
      return std::array{sum(model->parameters().values()), sum(training->optimizer().first_moment()),
                        sum(training->optimizer().second_moment())};
    };
    std::array<std::uint64_t, 3> before{};
    try {
      model = std::make_unique<Onevision>(small_config());
      model->parameters().allocate(Dtype::f32, device);
      initialize(model->parameters(), {.matrix = "uniform_fan_in"}, 1);
      training = std::make_unique<Training>(*model, data, short_run(1));
      before = state();
    } catch (const Error& e) {
      CHECK_MESSAGE(contains(e.what(), "device foreign: out of memory: "), e.what());
      continue;
    }
    std::string said;
    try {
      training->step();
      ++done;
    } catch (const Error& e) { said = e.what(); }
    CHECK((state() == before) == !said.empty());
    if (said.empty()) continue;
    ++in_the_step;
    CHECK_MESSAGE(contains(said, "device foreign: out of memory: "), said);
    CHECK_MESSAGE(contains(said, " in use (weights "), said);
  }
  CHECK(in_the_step > 0);
}
