// A kernel's arguments as a queue keeps them: a copy whose tensors own nothing and lie where the kernel may reach them.
#pragma once
#include <memory>
#include <vector>

#include "kernels/gpu/arguments.h"
#include "tensor/tensor.h"

namespace ov::test {

using gpu::for_each_field;

// Calls f on every tensor of the arguments, and on those of the host tables that a field points to. Tables are copied
// into `kept` first: the caller's may be gone when the kernel runs.
template <class Field, class F>
void adopt(Field& field, std::vector<std::shared_ptr<void>>& kept, F&& f) {
  if constexpr (std::is_same_v<Field, Tensor>) {
    if (field) f(field);
  } else if constexpr (std::is_pointer_v<Field>) {
    using Table = std::remove_cv_t<std::remove_pointer_t<Field>>;
    if (!field) return;
    auto copy = std::make_shared<Table>(*field);
    if constexpr (std::is_aggregate_v<Table>) adopt(*copy, kept, f);
    field = copy.get();
    kept.push_back(std::move(copy));
  } else if constexpr (std::is_aggregate_v<Field>) {
    for_each_field(field, [&](auto& inner) { adopt(inner, kept, f); });
  }
}

}  // namespace ov::test
