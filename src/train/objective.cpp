#include "train/objective.h"

namespace ov {

void backward_from(Tape& tape, std::span<const Var> losses) {
  std::vector<Tensor> seeds;
  for (const Var& loss : losses) {
    seeds.push_back(Tensor::like(loss.value));
    seeds.back().fill(1);
  }
  tape.backward(losses, seeds);
}

}  // namespace ov
