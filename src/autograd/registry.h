// One row per op: what checks and counters know about it. An op without a row cannot be recorded.
#pragma once
#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "autograd/cost.h"
#include "comm/communicator.h"

namespace ov {

enum class Op : int {
  add,
  add_rms_norm,
  all_to_all_rows,
  attention,
  cluster_loss,
  combine_experts,
  cross_entropy,
  dropout,
  embedding,
  exchange_rows,
  exp_scale,
  expert_rows,
  gather_rows,
  gelu,
  grouped_linear,
  grouped_linear_by_leaf,
  insert_class_tokens,
  l2_normalize,
  layer_norm,
  linear,
  linear_cross_entropy,
  load_balance_loss,
  margin_logits,
  norm_rope,
  on_gradient,
  recompute,
  reduce_rows,
  region_attention,
  rms_norm,
  rope,
  rope_table_2d,
  route,
  splice,
  split,
  swiglu,
  take_rows,
  view,
  vocabulary_cross_entropy,
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
  virtual Communicator& ranks() { return one_rank(); }  // of an op between ranks; each has an example of its own
};

enum class Owner { fresh, added, handed_over, slice };  // of an input's gradient buffer: autograd/tape.h

struct OpRow {
  Op op;
  const char* name;
  std::vector<Var> (*example)(Example&);   // runs the op once; returns its outputs
  double tolerance;                        // largest relative error of the gradient check in f64
  Cost (*cost)(const Node&) = moved_once;  // by what the node's `wanted` says
  std::array<Owner, 3> owners = {};        // one an input; the last one is that of all further inputs too

  Owner owner(std::size_t input) const { return owners[std::min(input, owners.size() - 1)]; }
};

const OpRow& row(Op op);
std::span<const OpRow* const> rows();

}  // namespace ov
