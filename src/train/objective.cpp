#include "train/objective.h"

#include "base/sum.h"

namespace ov {

void backward_from(Tape& tape, std::span<const Var> losses) {
  std::vector<Tensor> seeds;
  for (const Var& loss : losses) {
    seeds.push_back(Tensor::like(loss.value));
    seeds.back().fill(1);
  }
  tape.backward(losses, seeds);
}

double sum_of(const Tensor& values) {
  double total = 0;
  if (!values.has_data()) return total;
  const Tensor here = values.to(cpu());
  by_dtype(here.dtype(), [&](auto v) {
    const auto* p = here.data<decltype(v)>();
    total = sum<double>(values.numel(), [&](std::int64_t i) { return static_cast<double>(p[i]); });
  });
  return total;
}

}  // namespace ov
