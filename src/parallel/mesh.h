// Which rank does what: dp x pp x cp x tp. Rank ((d p + s) c + k) t + i is place i of the t that hold a stage together
// (parallel/tensor.h), part k of the c that share a row's tokens (parallel/context.h), stage s of the p that hold one
// model together (parallel/pipeline.h), in copy d of that model (parallel/data.h). Neighbours have the most to say to
// each other. Where n copies share their experts (parallel/expert.h), or their class tables (parallel/classes.h), those
// are d = m n .. m n + n - 1, `experts`, and `data` are the ranks that hold the same.
//
//   launch -n 8, parallel.tensor 2, parallel.pipeline 2
//     tensor: {0, 1} {2, 3} {4, 5} {6, 7}    pipe: {0, 2} {1, 3} {4, 6} {5, 7}    data: {0, 4} {1, 5} {2, 6} {3, 7}
//   launch -n 8, parallel.tensor 2, parallel.context 2
//     tensor: {0, 1} {2, 3} {4, 5} {6, 7} context: {0, 2} {1, 3} {4, 6} {5, 7}    data: {0, 4} {1, 5} {2, 6} {3, 7}
//   launch -n 8, parallel.tensor 2, parallel.experts 2
//     tensor: {0, 1} {2, 3} {4, 5} {6, 7} experts: {0, 2} {1, 3} {4, 6} {5, 7}    data: {0, 4} {1, 5} {2, 6} {3, 7}
#pragma once
#include "comm/group.h"

namespace ov {

// How many ranks an axis has.
struct Axes {
  int tensor = 1, pipeline = 1, context = 1, experts = 1;  // experts: or class tables
  int all() const { return tensor * pipeline * context * experts; }
};
struct Mesh {
  // input_error unless they divide the ranks; and where experts are shared by no power of two, or in a pipeline. No
  // model has both experts and class tables. planned: the ranks are plan's, which the error tells how to have more of.
  Mesh(Communicator& world, int tensor_ranks, int pipeline_ranks = 1, int context_ranks = 1, int expert_ranks = 1,
       int class_ranks = 1, bool planned = false);
  Mesh(Communicator& world, const Axes& by);
  Group tensor, context, pipe, experts, data;
};

// The axis on which two ranks differ: "data", or where they share experts "experts", or hold one copy "pipe", or one
// stage "context", or one part of a row "tensor".
const char* axis_between(int a, int b, const Axes& by);

// What a report says of `idle` of a model's `copies`, which have none of a step's `leaves`, and which keys give them
// some; "" of 0. sharing: copies that share experts or class tables.
std::string said_of_idle(std::int64_t idle, std::int64_t leaves, int copies, int sharing, int pipeline);

}  // namespace ov
