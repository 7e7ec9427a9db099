#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Tensor split_part(const Tensor& whole, std::span<const Shape> part_shapes, int part) {
  const auto width = [](const Shape& s) { return s.numel() / std::max<std::int64_t>(1, s[0]); };
  std::int64_t begin = 0;
  if (whole.dim(0) == 0) return Tensor(part_shapes[static_cast<std::size_t>(part)], whole.dtype(), whole.device());
  for (int i = 0; i < part; ++i) begin += width(part_shapes[static_cast<std::size_t>(i)]);
  const Shape& shape = part_shapes[static_cast<std::size_t>(part)];
  return whole.slice(1, begin, begin + width(shape)).view(shape);
}

std::vector<Var> split(const Var& x, const std::vector<Shape>& shapes) {
  std::vector<Shape> with_rows;
  std::int64_t total = 0;
  for (const Shape& s : shapes) {
    std::vector<std::int64_t> dims = {x.dim(0)};
    for (int i = 0; i < s.rank(); ++i) dims.push_back(s[i]);
    with_rows.emplace_back(dims);
    total += s.numel();
  }
  if (x.value.rank() != 2 || total != x.dim(1)) input_error("split: parts of width ", total, " in ", x.shape().str());
  std::vector<Tensor> parts;
  for (std::size_t i = 0; i < shapes.size(); ++i) parts.push_back(split_part(x.value, with_rows, static_cast<int>(i)));

  // The parts' gradients are slices of the input's. What came another way is copied there.
  return record_all({.op = Op::split, .inputs = {x}, .outputs = parts, .backward = [](const Node& n, Grads& d) {
                       for (std::size_t i = 0; i < d.out.size(); ++i) {
                         const Tensor slice = split_part(d.in[0], n.output_shapes, static_cast<int>(i));
                         if (!d.out[i]) slice.copy_from(Tensor::zeros(slice.shape(), slice.dtype(), slice.device()));
                         else if (d.out[i].storage() != d.in[0].storage()) slice.copy_from(d.out[i]);
                       }
                     }});
}

extern const OpRow split_row;
const OpRow split_row = {
    .op = Op::split,
    .name = "split",
    .example = [](Example& e) -> std::vector<Var> {
      const auto parts = split(e.input({3, 12}), {{2, 3}, {4}, {2}});
      return {gelu(parts[0]), add(parts[1], gelu(parts[1]))};  // one part used once, one twice, one not at all
    },
    .tolerance = 1e-8,
    .cost = nothing_moved,
    .owners = {Owner::slice},
};

}  // namespace ov
