// One row per op: what checks, counters and documentation know about it. An op without a row cannot be recorded.
#pragma once
#include <span>
#include <vector>

#include "autograd/tape.h"

namespace ov {

enum class Op : int {
  add,
  attention,
  cluster_loss,
  cross_entropy,
  embedding,
  gelu,
  insert_class_tokens,
  l2_normalize,
  layer_norm,
  linear,
  margin_logits,
  recompute,
  region_attention,
  rms_norm,
  rope,
  rope_table_2d,
  splice,
  split,
  swiglu,
  take_rows,
  view,
  count
};

// Builds arguments for an op: sizes, random contents, and what is differentiated.
class Example {
 public:
  virtual ~Example() = default;
  // `usual` in the gradient check; walks the edge sizes in the kernel check (tests/kernels/edge_sizes_test.cpp).
  virtual std::int64_t size(std::int64_t usual) = 0;
  virtual Var input(const Shape& shape) = 0;       // random, differentiated
  virtual Var wide_input(const Shape& shape) = 0;  // the same, of the accumulation type
  virtual Var parameter(const Shape& shape) = 0;   // random, differentiated, its gradient added to
  // Not differentiated, as given; numbers are of the accumulation type.
  virtual Tensor numbers(const std::vector<double>& values, const Shape& shape) = 0;
  virtual Tensor integers(const std::vector<std::int64_t>& values, const Shape& shape) = 0;
};

struct OpRow {
  Op op;
  const char* name;
  std::vector<Var> (*example)(Example&);  // runs the op once; returns its outputs
  std::int64_t (*flops)(const Node&);     // forward pass, additions and multiplications counted one each
  double tolerance;                       // largest relative error of the gradient check in f64
  unsigned adds = 0;                      // bit i: the gradient of input i is added to, not overwritten
  bool passes = false;                    // backward hands over tensors of its own; no buffers are prepared
};

const OpRow& row(Op op);
std::span<const OpRow* const> rows();

// What a forward pass reads and writes at the least: every input and output once. The floor of an op without products.
inline std::int64_t bytes(const Node& n, std::size_t element) {
  std::int64_t count = 0;
  for (const Shape& s : n.input_shapes) count += s.numel();
  for (const Shape& s : n.output_shapes) count += s.numel();
  return count * static_cast<std::int64_t>(element);
}

}  // namespace ov
