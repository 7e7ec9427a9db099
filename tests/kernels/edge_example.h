// Runs an op's example with one of its sizes at an edge, forward and backward, on any device and in any type.
//
// Inputs and output gradients have magnitudes in [½, 1], so that no norm divides by a small number. They are bf16
// numbers, so that every type starts from the same values; Values::whole keeps all digits, without which short sums
// would be exact in f32 in any order.
#pragma once
#include <algorithm>
#include <cmath>
#include <memory>

#include "autograd/ops.h"
#include "autograd/registry.h"
#include "tests/autograd/gradient_check.h"

namespace ov::test {

using Op_ = std::vector<Var> (*)(Example&);

inline Tensor on_device(const Tensor& host, Dtype dtype, Device& device) { return host.to(dtype).to(device); }

enum class Values { bf16, whole };

class EdgeExample : public Example {
 public:
  // The call number `which` of size() gets `edge`, the others their usual sizes.
  EdgeExample(Dtype dtype, Device& device, int which, std::int64_t edge, Values values)
      : gradients({1 << 16}, accum_dtype(dtype), device),
        tape(gradients),
        dtype_(dtype),
        device_(device),
        which_(which),
        edge_(edge),
        values_(values),
        random_(7) {}
  std::int64_t size(std::int64_t usual) override { return calls++ == which_ ? edge_ : usual; }
  Var input(const Shape& shape) override { return input(shape, dtype_); }
  Var wide_input(const Shape& shape) override { return input(shape, accum_dtype(dtype_)); }
  Var parameter(const Shape& shape) override {
    auto p = std::make_unique<Parameter>();
    p->value = drawn(shape, dtype_);
    p->gradient = next_gradient_;
    next_gradient_ += shape.numel();
    gradient_of(*p, gradients).copy_from(drawn(shape, accum_dtype(dtype_)));  // not zero: it is added to
    leaves.push_back({tape.parameter(*p), std::move(p)});
    return leaves.back().var;
  }
  Tensor numbers(const std::vector<double>& values, const Shape& shape) override {
    return on_device(Tensor::of(values, shape), accum_dtype(dtype_), device_);
  }
  Tensor integers(const std::vector<std::int64_t>& values, const Shape& shape) override {
    return on_device(Tensor::of(values, shape), Dtype::i64, device_);
  }
  Tensor drawn(const Shape& shape, Dtype dtype) {
    std::vector<double> v(static_cast<std::size_t>(shape.numel()));
    for (double& x : v) {
      const double u = random_();
      const auto magnitude = static_cast<float>(u < 0 ? u / 2 - 0.5 : u / 2 + 0.5);
      x = values_ == Values::whole ? magnitude : float(Bf16(magnitude));
    }
    return on_device(Tensor::of(v, shape), dtype, device_);
  }

  struct Leaf {
    Var var;
    std::unique_ptr<Parameter> parameter;
  };
  const Tensor gradients;  // of all parameters
  Tape tape;
  std::vector<Leaf> leaves;
  int calls = 0;

 private:
  Var input(const Shape& shape, Dtype dtype) {
    leaves.push_back({tape.input(drawn(shape, dtype), true), nullptr});
    return leaves.back().var;
  }
  Dtype dtype_;
  Device& device_;
  int which_;
  std::int64_t edge_;
  Values values_;
  Random random_;
  std::int64_t next_gradient_ = 0;
};

struct Run {
  std::vector<std::vector<double>> tensors;  // outputs, then gradients
  int sizes = 0;                             // calls of size()
  std::int64_t longest = 1;                  // more than any sum
};

inline std::vector<double> host(const Tensor& t) { return t.to(cpu()).to(Dtype::f64).to_vector<double>(); }

inline Run run(Op_ op, Dtype dtype, Device& device, int which, std::int64_t edge, Values values = Values::bf16) {
  EdgeExample e(dtype, device, which, edge, values);
  const std::vector<Var> outputs = op(e);
  Run r;
  std::vector<Tensor> seeds;
  for (const Var& y : outputs) {
    r.tensors.push_back(host(y.value));
    seeds.push_back(e.drawn(y.shape(), y.value.dtype()));
  }
  e.tape.backward(outputs, seeds);
  for (const auto& leaf : e.leaves) {
    const Tensor g = leaf.parameter ? gradient_of(*leaf.parameter, e.gradients) : e.tape.gradient(leaf.var);
    r.tensors.push_back(g ? host(g) : std::vector<double>{});
    for (int axis = 0; axis < leaf.var.value.rank(); ++axis) r.longest = std::max(r.longest, 8 + leaf.var.dim(axis));
  }
  r.sizes = e.calls;
  return r;
}

// bf16 roundings on the way to a result: its own, and those of intermediate results in examples of several ops. An
// attention's backward reads o, whose roundings come in through D = 5 products of at most 1 each, twice.
inline double stores(Op op) { return op == Op::attention || op == Op::region_attention ? 16 : 4; }

// The worst error as a share of its bound.
inline double worst(const Run& got, const Run& expected, double bf16_stores) {
  const auto n = static_cast<double>(expected.longest);
  const double arithmetic = 2 * n * (std::min(n, 384.0) + n / 16 + 16) * 0x1p-24;
  double share = 0;
  for (std::size_t t = 0; t < expected.tensors.size(); ++t) {
    if (got.tensors[t].size() != expected.tensors[t].size()) return INFINITY;
    double largest = 1;
    for (const double x : expected.tensors[t]) largest = std::max(largest, std::abs(x));
    for (std::size_t i = 0; i < expected.tensors[t].size(); ++i) {
      const double error = std::abs(got.tensors[t][i] - expected.tensors[t][i]);
      share = std::max(share, std::isnan(error) ? INFINITY : error / (arithmetic + bf16_stores * 0x1p-8 * largest));
    }
  }
  return share;
}

}  // namespace ov::test
