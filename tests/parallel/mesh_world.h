// Whole runs of the model that every mesh divides.
#pragma once
#include "base/config.h"
#include "parallel/mesh.h"
#include "tests/cli/program.h"
#include "tests/comm/forked_ranks.h"
#include "tests/train/job_world.h"

namespace ov::test {

// The model of configs/model/mesh.json, and pictures with conversations.
class MeshWorld {
 public:
  explicit MeshWorld(const Strings& more = {}) {
    synth::write_lessons({.out_dir = path("data"), .seed = 4, .count = 10, .data_dir = "data/toy_world"});
    Strings merge = {"merge", "--config",   "configs/model/mesh.json", "--tokenizer", "data/tokenizer",
                     "--out", path("start")};
    merge.insert(merge.end(), more.begin(), more.end());
    REQUIRE(run(merge).exit == 0);
  }
  std::string path(const std::string& name) const { return dir_ / name; }

  TrainJob job(const std::string& out, Dtype dtype = Dtype::f32) const {
    TrainJob j;
    j.model_dir = path("start");
    j.out = path(out);
    j.data.json = path("data/conversations.json");
    j.data.samples_per_micro_batch = 1;
    j.data.micro_batches_per_step = 2;
    j.data.limits.max_pixels = 56 * 56;
    j.train = short_run(20);
    j.train.schedule.peak = 1e-3, j.train.schedule.min = 1e-4;
    j.dtype = dtype;
    j.config = Json::object({{"train.steps", 20}});
    return j;
  }

 private:
  ScratchDirectory dir_;
};

// How many ranks divide what.
struct Ways {
  int data = 1, pipeline = 1, chunks = 1, tensor = 1, zero = 1, context = 1, experts = 1;  // experts: of data
  int ranks() const { return data * pipeline * tensor * context; }
  std::string said() const {
    return cat("dp ", data, " (ep ", experts, ") x pp ", pipeline, " (", chunks, ") x cp ", context, " x tp ", tensor,
               ", zero ", zero);
  }
  void set(StepOptions& o) const {
    o.pipeline = pipeline, o.chunks = chunks, o.tensor = tensor, o.zero = zero, o.context = context,
    o.experts = experts;
  }
};

inline void in_mesh(const Ways& ways, TrainJob job) {
  ways.set(job.train);
  for (const Ended& e : in_ranks(ways.ranks(), 60, [&](ProcessRanks& ranks) {
         job.ranks = &ranks;
         quietly(job);
         ranks.barrier();
       }))
    REQUIRE_MESSAGE(e.exit == 0, ways.said(), ": ", e.error);
}

}  // namespace ov::test
