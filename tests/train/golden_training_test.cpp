// Twenty AdamW steps against the original code (tests/golden/README.md): the numbers of summary.json's "training".
#include <doctest/doctest.h>

#include <cmath>

#include "audit/diff.h"
#include "model/files/hf_directory.h"
#include "tests/model/packed_rows.h"

using namespace ov;
using ov::test::Training;

namespace {

const std::string golden = "tests/golden/dense";

MicroBatch as_micro_batch(const std::string& name) {
  const TraceCase c = read_trace_case(golden + "/case_" + name + ".safetensors", Dtype::f32);
  MicroBatch b;
  b.input_ids = c.input_ids;
  b.labels = c.labels;
  b.pixel_values = c.pixel_values;
  for (const Grid& g : c.grids) b.grids.push_back({g.t, g.h, g.w});
  for (std::int64_t t = 0; t < b.tokens(); ++t) b.positions.push_back(t);
  b.segments = {{0, b.tokens(), -1}};
  b.sample_of_segment = {0};
  b.samples = 1;
  return b;
}

class GoldenSteps : public StepSource {
 public:
  explicit GoldenSteps(const Json& steps) : steps_(steps) {}
  GlobalStep next() override {
    GlobalStep step;
    for (const Json& name : steps_[at_++].at("cases").items())
      step.micro_batches.push_back(as_micro_batch(name.as_string()));
    return step;
  }
  Json state() const override { return Json(static_cast<std::int64_t>(at_)); }
  void restore(const Json& state) override { at_ = static_cast<std::size_t>(state.as_int()); }

 private:
  const Json& steps_;
  std::size_t at_ = 0;
};

TrainOptions golden_options() {
  TrainOptions o;
  o.steps = 20;
  o.schedule = {.peak = 2e-3, .min = 2e-4, .warmup = 0.2, .first_step = 1};
  o.optimizer = {
      .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1, .clip_grad = 1, .no_decay = {"class_pos_emb"}};
  return o;
}

}  // namespace

TEST_CASE("golden training in fp64: rate, loss and gradient norm of every step, and all parameters after twenty") {
  const Json summary = Json::read(golden + "/summary.json");
  const Json& steps = summary.at("training").at("fp64");
  const auto model = load_model(golden + "/checkpoint", {.dtype = Dtype::f64});
  GoldenSteps source(steps);
  Training trainer(*model, source, golden_options());
  for (const Json& expected : steps.items()) {
    const StepReport r = trainer.step();
    CAPTURE(r.step);
    CHECK(r.labelled == expected.at("tokens").as_int());
    CHECK(std::abs(r.lr - expected.at("lr").as_double()) <= 1e-15);
    CHECK(std::abs(r.loss - expected.at("loss").as_double()) <= 1e-9 * expected.at("loss").as_double());
    CHECK(std::abs(r.gradient_norm - expected.at("grad_norm").as_double()) <=
          1e-9 * expected.at("grad_norm").as_double());
  }
  const Safetensors trained = Safetensors::open(golden + "/trained_fp64.safetensors");
  std::vector<NamedTensor> ours, theirs;
  for (const auto& e : trained.entries()) theirs.push_back({"act." + e.name, trained.tensor(e.name)});
  for (const auto& e : model->parameters().entries()) ours.push_back({"act." + e.parameter.name, e.parameter.value});
  const TraceDifference d = compare_tensors(ours, theirs, {}, 1e-7);
  CHECK(d.compared.size() == model->parameters().entries().size());
  const auto* first = d.first();
  CHECK_MESSAGE(!first, (first ? first->name : ""), " differs by ", first ? first->relative : 0);
}

TEST_CASE("golden training in fp32: the worst of the losses is at most twice as far from fp64 as PyTorch's") {
  const Json summary = Json::read(golden + "/summary.json");
  const Json& steps = summary.at("training").at("fp64");
  const Json& theirs = summary.at("training").at("fp32_loss_of_pytorch");
  const auto model = load_model(golden + "/checkpoint");
  GoldenSteps source(steps);
  Training trainer(*model, source, golden_options());
  double worst = 0, worst_of_theirs = 0;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const double exact = steps[i].at("loss").as_double();
    worst = std::max(worst, std::abs(trainer.step().loss - exact) / exact);
    worst_of_theirs = std::max(worst_of_theirs, std::abs(theirs[i].as_double() - exact) / exact);
  }
  MESSAGE("fp32 training: ours ", worst, ", PyTorch ", worst_of_theirs);
  CHECK(worst <= 2 * worst_of_theirs);
}

TEST_CASE("golden training: decaying class_pos_emb, or counting steps from zero, is noticed") {
  const Json summary = Json::read(golden + "/summary.json");
  const Json& steps = summary.at("training").at("fp64");
  for (const bool decay : {true, false}) {
    TrainOptions o = golden_options();
    if (decay) o.optimizer.no_decay.clear();
    else o.schedule.first_step = 0;
    const auto model = load_model(golden + "/checkpoint", {.dtype = Dtype::f64});
    GoldenSteps source(steps);
    Training trainer(*model, source, o);
    double worst = 0;
    for (int i = 0; i < 6; ++i) {
      const double loss = trainer.step().loss, expected = steps[static_cast<std::size_t>(i)].at("loss").as_double();
      worst = std::max(worst, std::abs(loss - expected) / expected);
    }
    CHECK(worst > 1e-8);
  }
}
