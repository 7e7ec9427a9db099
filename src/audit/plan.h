// What training a model needs before anything is allocated: parameters, bytes by segment, FLOPs of a step.
//
// No second set of formulas: the engine makes one step on the meta device, where tensors have shapes and no memory.
// FLOPs are those of matrix products and attention, a multiply-add counts two; causal attention counts the visible
// pairs, S (S + 1) / 2 of a segment of S tokens. Of a mesh it is one rank's step, whose others are not there
// (comm/absent_ranks.h).
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "train/objectives/contrastive.h"
#include "train/objectives/language.h"
#include "train/objectives/region.h"

namespace ov {

struct PlanOptions {
  std::vector<Grid> grids = {{1, 40, 40}};  // the row's pictures, in patches: 560 x 560 pixels are 40 x 40; of CLIP as
                                            // many as there are pairs, whatever their size
  std::int64_t text_tokens = 112;           // other tokens of the row
  std::int64_t segments = 1;                // equal parts of the row, each of which attends to itself alone
  std::int64_t labelled = 0;                // rows that pass through the head; 0: all
  std::int64_t micro_batches = 1;           // a step
  Dtype dtype = Dtype::f32;
  bool recompute = false;
  std::int64_t recompute_first = every_block;  // of the model's blocks, when `recompute`
  bool gpu = false;       // rehearses what runs on a GPU: ops in one pass over memory (nn/layers.h), what kernels take
                          // inside a call (kernels/gpu/scratch.h), the next step's pictures there already
  TrainOptions train;     // what is trained, how gradients are added
  LoraOptions lora = {};  // what is learnt beside it
  // This rank of so many, which train.zero divides, and of a whole model train.tensor, pipeline, chunks, context and
  // experts; class tables by train.classes.
  int ranks = 1, rank = 0;
  bool machines = false;              // those ranks are of several machines
  std::vector<MicroBatch> rows = {};  // if any: the step's micro-batches, in place of what is above
};

struct Plan {
  struct Module {
    std::string name;
    std::int64_t tensors = 0, parameters = 0, trained = 0;
  };
  std::vector<Module> modules;  // vision tower, merger, embedding, decoder, ...; of all ranks together
  std::int64_t tensors = 0, parameters = 0, trained = 0;
  std::int64_t micro_batches = 1, patches = 0, tokens = 0, labelled = 0;  // tokens and patches of one micro-batch
  std::int64_t blocks = 0;  // that may be recomputed, of tower and decoder
  // Of a mesh, this rank's: parameters that it holds, has gradients of, and updates; the micro-batches that it runs, by
  // rounds (parallel/data.h), and what it has, in words. One rank has all of it.
  std::int64_t held = 0, held_trained = 0, updated = 0;
  std::int64_t uncut = 0,
               shared_chunks = 0;  // of `updated`, what every tensor-parallel rank has; WholeChunks::shared
  std::int64_t scalars = 0;        // of the objective (train/objective.h)
  std::vector<std::int64_t> rounds;
  std::string stage;
  // What it says to other ranks in the step, on one axis of the mesh.
  struct Traffic {
    std::int64_t calls = 0;                      // after each of which it has waited
    std::map<int, std::int64_t> sent, received;  // bytes, by rank
    std::int64_t bytes() const;                  // sent
  };
  // By axis: pipe, tensor, classes; of context and experts what goes within a pass, and with " sums" behind the name
  // what does not: gradients, numbers of the report. Of data " beside" is what goes on beside the backward pass
  // (parallel/overlap.h), " sums" what is summed after it, " values" what is gathered: values, and of the norm.
  std::map<std::string, Traffic> traffic;
  std::int64_t buckets = 0;  // in which sums go on beside the backward pass; 0: none do
  std::string hindrance;     // why none can, where copies have sums to make
  // Highest bytes by segment over a step. `total_peak` is the highest sum at any one time. `host`: of the optimiser's
  // state where that lies elsewhere (train.optimizer.state_on; the plan takes a device of its own for it).
  MemoryUse memory, host;
  double forward_flops = 0, backward_flops = 0, recomputed_flops = 0;
  Dtype dtype = Dtype::f32;
  double floor_seconds = 0;  // of the step on this machine, when options.train.floor asks for it

  std::string report() const;  // a table, for people
};

// Throws input_error when sizes do not fit the model.
Plan plan_model(const ModelConfig& config, const PlanOptions& options);
// RICE's step of region cluster discrimination: options.grids are the pictures of a micro-batch. Boxes are not known
// beforehand: each is as large as its picture, and all regions of a step differ in class as far as there are classes,
// which is the most that a step takes.
struct RegionPlan {
  VisionConfig vision;
  RegionHeadConfig head;  // with the sizes of its tables
  ClusterOptions objects = {}, characters = {};
  std::int64_t regions = 10, strings = 0;  // of a picture; how many of them are strings
  std::int64_t labels = 10;                // of a string
};
Plan plan_region(const RegionPlan& rice, const PlanOptions& options);
// CLIP's step: a picture and a text of `text_tokens`, as many as the model has positions for, a pair.
Plan plan_clip(const ClipConfig& config, const PlanOptions& options);

}  // namespace ov
