// train.recompute auto on a GPU: the room is what is free there, and the step is the one that a GPU runs.
#include <doctest/doctest.h>

#include "audit/plan_device.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "tests/devices/sim_device.h"
#include "tests/train/training_run.h"

using namespace ov;
using namespace ov::test;

TEST_CASE("train.recompute auto on a GPU: the fewest blocks that fit nine tenths of what is free there") {
  const ModelConfig model = small_config();
  MicroBatch row;
  add_sample(row, 1, 4, 6, 300);
  const GlobalStep step = as_step({row});
  const Config config = Config::parse(cli::keys(), "train",
                                      {"--model", "none", "--data", "none", "--out", "none", "--train.recompute=auto"});
  PlanOptions like{.dtype = Dtype::bf16, .train = short_run(2)};
  const auto bytes = [&](std::int64_t recomputed) {
    PlanOptions o = like;
    o.gpu = true, o.rows = step.micro_batches, o.recompute = recomputed > 0, o.recompute_first = recomputed;
    return plan_model(model, o).memory.total_peak;
  };
  const std::int64_t none = bytes(0), one = bytes(1), blocks = model.vision.depth + model.text.layers;
  REQUIRE(none - one > 3 * 4096);  // pages, by which a GPU's memory is rounded here
  const std::pair<std::int64_t, std::int64_t> cases[] = {{none + 4096, 0}, {(one + none) / 2, 1}, {1 << 16, blocks}};
  for (const auto& [room, expected] : cases) {
    CAPTURE(expected);
    SimDevice device(ForeignDevice::Policy::lazy, 0, std::size_t(room / 9 * 10 + 4095) / 4096 * 4096);
    RunOptions run;
    run.device = &device;
    CHECK(cli::fitting_blocks(config, run, like, model, step) == expected);
  }
}
