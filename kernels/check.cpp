#include "kernels/check.h"

#include <array>
#include <optional>
#include <string_view>

namespace ov::kernels {
namespace {

// Every call of every kernel comes by here, so nothing is allocated.
struct Pattern {
  std::array<std::string_view, Shape::max_rank> axis;
  int axes = 0;
  std::string_view dtype;
  bool optional = false, flat = false;
};

Pattern parse(std::string_view text) {
  Pattern p;
  if (text.ends_with('?')) p.optional = true, text.remove_suffix(1);
  if (text.ends_with('!')) p.flat = true, text.remove_suffix(1);
  if (const auto colon = text.find(':'); colon != text.npos)
    p.dtype = text.substr(colon + 1), text = text.substr(0, colon);
  while (!text.empty()) {
    const auto space = text.find(' ');
    p.axis.at(static_cast<std::size_t>(p.axes++)) = text.substr(0, space);
    text = space == text.npos ? std::string_view{} : text.substr(space + 1);
  }
  p.flat = p.flat || p.axes == 1;
  return p;
}

bool dtype_fits(std::string_view wanted, Dtype first, Dtype got) {
  if (wanted.empty()) return got == first;
  if (wanted == "acc") return got == accum_dtype(first);
  if (wanted == "out") return got == first || got == accum_dtype(first);
  return wanted == name_of(got);
}

}  // namespace

void check(const char* op, std::initializer_list<Argument> arguments) {
  struct Binding {
    std::string_view axis;
    std::int64_t length;
  };
  Binding bound[16];
  int bound_count = 0;
  std::optional<Dtype> first;
  const Device* device = nullptr;

  for (const Argument& a : arguments) {
    const Pattern p = parse(a.pattern);
    const auto wrong = [&](const auto&... why) {
      input_error(op, ": argument ", a.name, ": expected [", a.pattern, "], got ",
                  a.tensor ? cat(name_of(a.tensor.dtype()), " ", a.tensor.shape().str()) : std::string("null"), why...);
    };
    if (!a.tensor) {
      if (!p.optional) wrong();
      continue;
    }
    if (!first) first = a.tensor.dtype(), device = &a.tensor.device();
    if (&a.tensor.device() != device) wrong(" on ", a.tensor.device().name, " where the first is on ", device->name);
    if (!dtype_fits(p.dtype, *first, a.tensor.dtype())) wrong(", the first argument being ", name_of(*first));

    if (p.flat && !a.tensor.contiguous()) wrong(", a strided view; copy it first");

    const Shape& shape = a.tensor.shape();
    const int axes = p.axes;
    int lead = 0;  // axes of the tensor that the first letter stands for, less one
    if (shape.rank() > axes && axes > 0 && p.axis[0] == "N") lead = shape.rank() - axes;
    if (shape.rank() - lead != axes) wrong();
    for (int i = 0; i < axes; ++i) {
      std::int64_t length = shape[lead + i];
      if (i == 0)
        for (int k = 0; k < lead; ++k) length *= shape[k];
      const std::string_view axis = p.axis[static_cast<std::size_t>(i)];
      if (axis[0] >= '0' && axis[0] <= '9') {
        if (std::to_string(length) != axis) wrong();
        continue;
      }
      const Binding* known = nullptr;
      for (int b = 0; b < bound_count; ++b)
        if (bound[b].axis == axis) known = &bound[b];
      if (!known) {
        bound[bound_count++] = {axis, length};
      } else if (known->length != length) {
        wrong(", where ", axis, " is ", known->length);
      }
    }
  }
}

}  // namespace ov::kernels
