// Which rank does what: dp x tp. Rank d t + i is place i of the t that hold one model together (parallel/tensor.h), in
// copy d of that model (parallel/data.h). Neighbours share a model: they have the most to say to each other.
//
//   launch -n 4, parallel.tensor 2        tensor: {0, 1} {2, 3}        data: {0, 2} {1, 3}
#pragma once
#include "comm/group.h"

namespace ov {

struct Mesh {
  Mesh(Communicator& world, int tensor_ranks);  // input_error unless tensor_ranks divides the ranks
  Group tensor, data;
};

}  // namespace ov
