// Whole runs of the model that every mesh divides.
#pragma once
#include "base/config.h"
#include "kernels/adamw.h"
#include "parallel/mesh.h"
#include "tests/cli/program.h"
#include "tests/comm/forked_ranks.h"
#include "tests/model/small_model.h"
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

  // Of four micro-batches a step, saved after ten steps too, for cut() to go back to.
  TrainJob saved_job(const std::string& out) const {
    TrainJob j = job(out);
    j.data.micro_batches_per_step = 4, j.save_every = 10, j.keep = 9;
    return j;
  }

 private:
  ScratchDirectory dir_;
};

// How many ranks divide what.
struct Ways {
  int data = 1, pipeline = 1, chunks = 1, tensor = 1, zero = 1, context = 1, experts = 1;  // experts: of data
  bool overlap = false;
  int ranks() const { return data * pipeline * tensor * context; }
  std::string said() const {
    return cat("dp ", data, " (ep ", experts, ") x pp ", pipeline, " (", chunks, ") x cp ", context, " x tp ", tensor,
               ", zero ", zero, overlap ? ", overlap" : "");
  }
  void set(StepOptions& o) const {
    o.pipeline = pipeline, o.chunks = chunks, o.tensor = tensor, o.zero = zero, o.context = context,
    o.experts = experts;
    o.overlap = overlap, o.bucket = 2 * kernels::norm_chunk;  // of which the least models have several
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

// All that a run leaves: what its log says of the steps, weights and moments of every checkpoint, the model.
inline std::string files_of(const TrainJob& job) {
  std::string all = steps_of(job) + model_sha(job);
  for (const std::string& c : checkpoints(job.out)) all += saved_bits(c);
  return all;
}

// As if it had ended after step 10.
inline void cut(const TrainJob& job) {
  fs::remove_all(job.out + "/checkpoints/step-00000020"), fs::remove_all(job.out + "/model");
}

// Twenty steps in each of the meshes but the last, saved after ten, from where the next in the list goes on: the files
// of one rank.
inline void same_files_in(const MeshWorld& world, const std::vector<Ways>& meshes) {
  const TrainJob one = world.saved_job("one");
  quietly(one);
  const std::string expected = files_of(one);
  for (std::size_t i = 0; i + 1 < meshes.size(); ++i) {
    const Ways &first = meshes[i], &next = meshes[i + 1];
    const TrainJob job = world.saved_job(cat("mesh", i));
    in_mesh(first, job);
    CHECK_MESSAGE(files_of(job) == expected, first.said());
    cut(job);
    in_mesh(next, job);
    CHECK_MESSAGE(files_of(job) == expected, first.said(), ", then ", next.said());
    fs::remove_all(job.out);
  }
}

// What all ranks of a run that is refused say.
inline std::string refused_by_ranks(int ranks, const Ways& ways, TrainJob job) {
  ways.set(job.train);
  std::string all;
  for (const Ended& e : in_ranks(ranks, 60, [&](ProcessRanks& self) {
         job.ranks = &self;
         quietly(job);
       })) {
    CHECK(e.exit == 2);
    all += e.error;
  }
  return all;
}

// A step whose leaf 1 has no token, leaf 2 no label and every other one no picture; leaf i answers with text + i words.
inline GlobalStep uneven_step(std::int64_t leaves, std::int64_t text = 5) {
  std::vector<MicroBatch> rows(static_cast<std::size_t>(leaves));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i == 1) continue;
    add_sample(rows[i], i + 1, i % 2 ? 0 : 2, 2, text + static_cast<std::int64_t>(i));
    if (i == 2) std::fill(rows[i].labels.begin(), rows[i].labels.end(), ignored_label);
  }
  return as_step(rows);
}

// Six layers and four heads; with experts in all layers but one.
inline ModelConfig six_layers(bool tied, bool experts) {
  ModelConfig m = small_config();
  m.vision.heads = 4, m.text.vocabulary = 100;
  m.text.layers = 6, m.text.heads = 4, m.text.kv_heads = 2, m.text.tied = tied;
  if (experts)
    m.text.experts = 4, m.text.experts_per_token = 2, m.text.expert_intermediate = 24, m.text.mlp_only_layers = {2};
  return m;
}

}  // namespace ov::test
