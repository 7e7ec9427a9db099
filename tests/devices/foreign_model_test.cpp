// The model on memory that the host cannot touch, everything run late: the cpu's bits.
#include <doctest/doctest.h>

#include "base/parallel.h"
#include "generate/generate.h"
#include "kernels/cross_entropy.h"
#include "kernels/gpu/cublaslt.h"
#include "kernels/sim/scheduler.h"
#include "model/files/hf_directory.h"
#include "model/region_head.h"
#include "tests/base/scratch.h"
#include "tests/devices/sim_device.h"
#include "tests/model/packed_rows.h"

using namespace ov;
using namespace ov::test;
using Policy = ForeignDevice::Policy;

namespace {

std::unique_ptr<Onevision> model_on(Device& device, bool recompute = false, std::int64_t experts = 0) {
  ModelConfig config = small_config();
  config.text.experts = experts, config.text.experts_per_token = 2, config.text.expert_intermediate = 24;
  auto model = std::make_unique<Onevision>(config);
  model->parameters().allocate(Dtype::f32, device);
  initialize(model->parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.2, .embedding_std = 0.5}, 1);
  model->recompute_blocks = recompute;
  return model;
}

using Results = std::vector<std::vector<float>>;

void backward_from(Tape& tape, const Var& logits, std::vector<std::int64_t> target, Device& device) {
  const auto n = static_cast<std::int64_t>(target.size());
  const Tensor targets = index_tensor("targets", target, {n}, 0, logits.dim(1), device);
  const Tensor weights = Tensor::of(std::vector<float>(target.size(), 0.5f), {n}, device);
  const CrossEntropy ce = cross_entropy(logits, targets, weights, 3);
  tape.backward(ce.loss, Tensor::of<float>({1}, {1}, device));
}

// Logits and gradients of a packed row with everything that a row can hold.
Results step_on(Device& device, bool recompute, std::int64_t experts = 0) {
  const auto model = model_on(device, recompute, experts);
  model->parameters().train([](const Parameter&) { return true; });
  const Tensor gradients = model->parameters().gradient_buffer();
  gradients.zero();
  const MicroBatch row = mixed_row(7);
  Tape tape(gradients);
  const Var hidden = model->hidden(&tape, model_inputs(row, Dtype::f32, device));
  const Var logits = model->logits(take_rows(hidden, index_tensor("rows", {3, 9, 11}, {3}, 0, hidden.dim(0), device)));
  backward_from(tape, logits, {1, 90, 17}, device);
  return {logits.value.to_vector<float>(), gradients.to_vector<float>(),
          model->parameters().values().to_vector<float>()};
}

// The same of the region model, whose logits are its embeddings.
Results regions_on(Device& device) {
  RiceModel model(small_config().vision, {.classes = 5});
  model.parameters().allocate(Dtype::f32, device);
  initialize(model.parameters(), {.matrix = "uniform_fan_in"}, 3);
  model.parameters().train([](const Parameter&) { return true; });
  const Tensor gradients = model.parameters().gradient_buffer();
  gradients.zero();
  const MicroBatch row = mixed_row(5);
  std::vector<Grid> grids;
  for (const auto& g : row.grids) grids.push_back({g[0], g[1], g[2]});
  Tape tape(gradients);
  const Var out = model.regions(&tape, row.pixel_values, grids, {{0, 0, 0, 2, 1}, {1, 1.5, 0, 4, 4}});
  backward_from(tape, out, {4, 2}, device);
  return {out.value.to_vector<float>(), gradients.to_vector<float>()};
}

Results generated_on(Device& device) {
  const auto model = model_on(device);
  MicroBatch b;
  add_sample(b, 11, 4, 4, 6);
  std::vector<Grid> grids = {{1, 4, 4}};
  const auto ids = generate(*model, b.input_ids, b.pixel_values, grids, {.max_new_tokens = 6});
  Generation g(*model, b.input_ids, b.pixel_values, grids, 2);
  g.append(ids.at(0));
  return {{ids.begin(), ids.end()}, g.logits().to_vector<float>()};
}

struct Case {
  Policy policy;
  std::uint64_t seed;
};
const std::vector<Case> usual = {{Policy::lazy, 0}, {Policy::random, 1}};
const std::vector<Case> all = {{Policy::eager, 0},  {Policy::others_first, 0}, {Policy::random, 2},
                               {Policy::random, 3}, {Policy::random, 4},       {Policy::random, 5}};

template <class D, class F>
void same_bits_on(const std::vector<Case>& cases, F&& f) {
  const Results expected = f(cpu());
  for (const Case& c : cases) {
    CAPTURE(static_cast<int>(c.policy));
    CAPTURE(c.seed);
    D device(c.policy, c.seed);
    CHECK(f(device) == expected);
    device.synchronize();
    CHECK(device.ran() > 100);
    gpu::close_cublaslt(device);  // its workspace
    CHECK(device.memory().total == 0);
  }
}

template <class D>
void whole_model(const std::vector<Case>& cases) {
  same_bits_on<D>(cases, [](Device& d) { return step_on(d, false); });
  same_bits_on<D>(cases, [](Device& d) { return step_on(d, true); });
  same_bits_on<D>(cases, [](Device& d) { return step_on(d, true, 5); });
  same_bits_on<D>(cases, regions_on);
  same_bits_on<D>(cases, generated_on);
}

}  // namespace

TEST_CASE("foreign: the model's forward, backward, regions and generation have the cpu's bits") {
  whole_model<ForeignDevice>(usual);
}

TEST_CASE("foreign, every policy: the model" * doctest::skip()) { whole_model<ForeignDevice>(all); }

TEST_CASE("sim device: the model's forward, backward, regions and generation have the cpu's bits in f32") {
  for (const auto& [order, policy] :
       {std::pair{sim::Order::reverse, Policy::lazy}, {sim::Order::random, Policy::random}}) {
    const sim::ScheduleScope scope({order, 1});
    whole_model<SimDevice>({{policy, 1}});
  }
}

TEST_CASE("sim device, every policy: the model" * doctest::skip()) { whole_model<SimDevice>(all); }

TEST_CASE("foreign: two threads give work to one device, each on a tape of its own") {
  ForeignDevice device(Policy::random, 9);
  Results got[4];
  parallel_for(4, [&](std::int64_t i) { got[i] = step_on(device, false); });
  const Results expected = step_on(cpu(), false);
  for (const Results& v : got) CHECK(v == expected);
}

TEST_CASE("foreign: a model is written from the device and read onto it") {
  ForeignDevice device(Policy::lazy), other(Policy::random, 1);
  const ScratchDirectory dir;
  const auto model = model_on(device);
  write_model(dir.path(), *model, {1}, 0);
  LoadOptions options;
  options.device = &other;
  const auto again = load_model(dir.path(), options);
  CHECK(again->parameters().values().to_vector<float>() == model_on(cpu())->parameters().values().to_vector<float>());
}

TEST_CASE("foreign: an id outside of the vocabulary is named before anything is queued") {
  ForeignDevice device(Policy::lazy);
  const auto model = model_on(device);
  device.synchronize();
  CHECK_THROWS_WITH_AS(model->hidden(nullptr, single_segment({5, 97}, {}, {}, device)),
                       "input_ids[1] is 97, outside of [0, 97)", Error);
}
