#include "kernels/check.h"

#include <optional>

namespace ov::kernels {
namespace {

bool dtype_fits(const Pattern& p, Dtype first, Dtype got) {
  switch (p.type) {
    case Pattern::Type::first: return got == first;
    case Pattern::Type::accumulated: return got == accum_dtype(first);
    case Pattern::Type::either: return got == first || got == accum_dtype(first);
    case Pattern::Type::named: return got == p.dtype;
  }
  return false;
}

}  // namespace

void check(const char* op, std::initializer_list<Argument> arguments) {
  std::array<std::int64_t, 26> bound;  // length of each letter, -1 while it has none
  bound.fill(-1);
  std::optional<Dtype> first;
  const Device* device = nullptr;

  for (const Argument& a : arguments) {
    const Pattern& p = a.pattern;
    const auto wrong = [&](const auto&... why) {
      input_error(op, ": argument ", a.name, ": expected [", p.text, "], got ",
                  a.tensor ? cat(name_of(a.tensor.dtype()), " ", a.tensor.shape().str()) : std::string("null"), why...);
    };
    if (!a.tensor) {
      if (!p.optional) wrong();
      continue;
    }
    if (!first) first = a.tensor.dtype(), device = &a.tensor.device();
    if (&a.tensor.device() != device) wrong(" on ", a.tensor.device().name, " where the first is on ", device->name);
    if (!dtype_fits(p, *first, a.tensor.dtype())) wrong(", the first argument being ", name_of(*first));

    if (p.flat && !a.tensor.contiguous()) wrong(", a strided view; copy it first");

    const Shape& shape = a.tensor.shape();
    int lead = 0;  // axes of the tensor that the first letter stands for, less one
    if (shape.rank() > p.axes && p.axes > 0 && p.axis[0] == -'N') lead = shape.rank() - p.axes;
    if (shape.rank() - lead != p.axes) wrong();
    for (int i = 0; i < p.axes; ++i) {
      std::int64_t length = shape[lead + i];
      if (i == 0)
        for (int k = 0; k < lead; ++k) length *= shape[k];
      const std::int64_t axis = p.axis[static_cast<std::size_t>(i)];
      if (axis >= 0) {
        if (length != axis) wrong();
        continue;
      }
      std::int64_t& known = bound[static_cast<std::size_t>(-axis - 'A')];
      if (known < 0) known = length;
      else if (known != length) wrong(", where ", static_cast<char>(-axis), " is ", known);
    }
  }
}

}  // namespace ov::kernels
