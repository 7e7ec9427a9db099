// Where a training run's steps come from: the loader over a data set, or a test's own batches.
#pragma once
#include "base/json.h"
#include "data/batch.h"

namespace ov {

class StepSource {
 public:
  virtual ~StepSource() = default;
  virtual GlobalStep next() = 0;
  // The position after the steps handed out so far; restore() continues there with the same steps.
  virtual Json state() const = 0;
  virtual void restore(const Json& state) = 0;
};

}  // namespace ov
