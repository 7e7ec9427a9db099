#include "autograd/cost.h"

#include <algorithm>

namespace ov {
namespace {

bool any_wanted(const Node& n) { return std::find(n.wanted.begin(), n.wanted.end(), true) != n.wanted.end(); }

std::int64_t bytes(const Shape& shape, Dtype dtype) {
  return shape.numel() * static_cast<std::int64_t>(size_of(dtype));
}

std::int64_t bytes(const std::vector<Shape>& shapes, Dtype dtype) {
  std::int64_t sum = 0;
  for (const Shape& s : shapes) sum += bytes(s, dtype);
  return sum;
}

}  // namespace

Cost moved_once(const Node& n) {
  Cost c;
  const std::int64_t outputs = bytes(n.output_shapes, n.dtype);
  c.forward_bytes = bytes(n.input_shapes, n.dtype) + outputs;
  if (!any_wanted(n)) return c;
  c.backward_bytes = outputs;
  for (const Tensor& t : n.saved) c.backward_bytes += t ? static_cast<std::int64_t>(t.nbytes()) : 0;
  for (std::size_t i = 0; i < n.wanted.size(); ++i)
    if (n.wanted[i]) c.backward_bytes += bytes(n.input_shapes[i], n.dtype);
  return c;
}

Cost moved_rows(const Node& n) {
  Cost c;
  const std::int64_t rows = bytes(n.output_shapes, n.dtype);
  c.forward_bytes = 2 * rows;
  if (any_wanted(n)) c.backward_bytes = rows;
  for (std::size_t i = 0; i < n.wanted.size(); ++i)
    if (n.wanted[i]) c.backward_bytes += std::min(2 * rows, bytes(n.input_shapes[i], n.dtype));
  return c;
}

Cost nothing_moved(const Node&) { return {}; }

Cost moved_once_with_exp(const Node& n) {
  Cost c = moved_once(n);
  c.forward_values.exp = n.input_shapes[0].numel();
  if (any_wanted(n)) c.backward_values = c.forward_values;
  return c;
}

Cost attention_cost(const Node& n) {
  constexpr std::int64_t tile = 64;
  const std::int64_t H = n.input_shapes[0][1], D = n.input_shapes[0][2], one = H * D * n.pairs;
  Cost c = moved_once(n);
  c.forward_values.exp = H * n.pairs;
  if (any_wanted(n)) c.backward_values = c.forward_values;
  c.products[0] = {Pass::forward, tile, tile, D, false, true, 2 * one};
  if (!any_wanted(n)) return c;
  c.products[1] = {Pass::backward, tile, tile, D, false, true, 4 * one};  // dP, dV, dQ, dK
  c.products[2] = {Pass::again, tile, tile, D, false, true, one};
  return c;
}

Cost grouped_linear_cost(const Node& n) {
  const std::int64_t F = n.output_shapes[0][1], C = n.input_shapes[1][1], R = n.output_shapes[0][0],
                     experts = n.input_shapes[1][0] / F, each = (R + experts - 1) / experts, one = R * C * F;
  Cost c = moved_once(n);
  c.products[0] = {Pass::forward, each, F, C, false, true, one};
  if (n.wanted[0]) c.products[1] = {Pass::backward, each, C, F, false, false, one};
  if (n.wanted[1]) c.products[2] = {Pass::backward, F, C, each, true, false, one};
  return c;
}

}  // namespace ov
