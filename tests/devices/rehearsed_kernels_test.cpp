// What kernels/gpu/scratch.h says that a GPU's kernels take inside a call, against what they take: every call of real
// steps on the simulated GPU.
#include <doctest/doctest.h>

#include <map>

#include "kernels/gemm.h"
#include "kernels/rehearsed.h"
#include "tests/check.h"
#include "tests/devices/sim_device.h"
#include "tests/parallel/class_world.h"
#include "tests/train/training_run.h"

using namespace ov;
using namespace ov::test;

namespace {

// Entries of a table are plain functions, hence statics.
const kernels::Table* real_table = nullptr;
Device* where = nullptr;
struct Calls {
  std::int64_t all = 0, that_take = 0, wrong = 0;
  std::string first_wrong = {};
};
std::map<std::string, Calls> calls;

std::int64_t taken_by(const std::function<void()>& call) {
  Device::Share share(*where);
  call();
  return share.close().peak[static_cast<std::size_t>(Segment::workspace)];
}

template <class Args, auto entry, const char* (*name)()>
void compared(const Args& a) {
  const std::int64_t real = taken_by([&] { (real_table->*entry)(a); });
  const std::int64_t said = taken_by([&] { (kernels::rehearsed_table().*entry)(a); });
  Calls& c = calls[name()];
  ++c.all, c.that_take += real > 0, c.wrong += real != said;
  if (real != said && c.first_wrong.empty()) c.first_wrong = cat("takes ", real, ", rehearsed ", said);
}

#define OV_NAME(entry, Args) \
  const char* name_of_##entry() { return #entry; }
OV_KERNELS(OV_NAME)
#undef OV_NAME

// Calls of `steps` on a device, with every entry compared.
void compare(Device& device, const std::function<void()>& steps) {
  // The library takes its workspace with its first product, and keeps it.
  const Tensor a = Tensor::zeros({32, 32}, Dtype::f32, device), c = Tensor::zeros({32, 32}, Dtype::f32, device);
  kernels::gemm({.c = c, .a = a, .b = a, .trans_a = true});
  device.synchronize();
  kernels::Table table = *device.table;
  real_table = device.table, where = &device;
#define OV_COMPARE(name, Args) table.name = compared<kernels::Args, &kernels::Table::name, name_of_##name>;
  OV_KERNELS(OV_COMPARE)
#undef OV_COMPARE
  device.table = &table;
  steps();
  device.synchronize();
  device.table = real_table;
}

}  // namespace

TEST_CASE("rehearsed kernels: every call of a step on a GPU takes what is said, dense and with experts, and RICE") {
  calls.clear();
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const bool experts : {false, true}) {
      SimDevice device(ForeignDevice::Policy::eager);
      ModelConfig config = small_config();
      if (experts) config.text.experts = 4, config.text.experts_per_token = 2, config.text.expert_intermediate = 24;
      Onevision model(config);
      model.parameters().allocate(dtype, device);
      initialize(model.parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.2}, 1);
      MicroBatch row;
      add_sample(row, 3, 4, 6, 90), add_sample(row, 4, 2, 2, 40);
      FixedSteps data({as_step({row})});
      TrainOptions options = short_run(1);
      options.checksum_every = 0;
      Training training(model, data, options);
      compare(device, [&] { training.step(); });
    }
  for (const bool softmax : {false, true}) {
    SimDevice device(ForeignDevice::Policy::eager);
    ClassRun run({.softmax = softmax, .blocks = softmax ? 4 : 1, .leaves = 3, .device = &device}, one_rank(), 1, 1, 0);
    compare(device, [&] { run.engine.step(); });
  }
  for (const auto& called : calls) {
    const Calls& c = called.second;
    CHECK_MESSAGE(c.wrong == 0, called.first, ": ", c.wrong, " of ", c.all, ", the first ", c.first_wrong);
  }
  for (const char* takes : {"sum_rows", "layernorm_backward", "rmsnorm_backward", "norm_rope_backward",
                            "attention_forward", "attention_backward", "grouped_gemm", "expert_order",
                            "embedding_backward", "load_balance_forward", "region_attention_backward", "cluster_hits"})
    CHECK_MESSAGE(calls[takes].that_take > 0, takes);
}
