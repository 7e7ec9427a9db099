// The gradient check: an op's backward against fourth-order central differences of its forward, in f64, with random
// cotangents.
#pragma once
#include <cmath>
#include <functional>
#include <string>

#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov::test {

// Deterministic uniform numbers in [-1, 1).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull + 1) {}
  double operator()() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<double>(state_ >> 11) * 0x1p-52 - 1;
  }

 private:
  std::uint64_t state_;
};

// First run: makes the leaves. Later runs: hands out the same leaves, whatever the check has written into them.
class CheckExample : public Example {
 public:
  // `edge`: the size that every size(...) becomes; 0: the usual ones.
  explicit CheckExample(std::uint64_t seed, std::int64_t edge = 0) : random_(seed), edge_(edge) {}
  void start(Tape* tape) { tape_ = tape, next_leaf_ = 0; }
  std::int64_t size(std::int64_t usual) override { return edge_ ? edge_ : usual; }

  Var input(const Shape& shape) override {
    Leaf& leaf = next(shape);
    if (!tape_) return Var{leaf.parameter->value};
    return leaf.var = tape_->input(leaf.parameter->value, true);
  }
  Var wide_input(const Shape& shape) override { return input(shape); }
  Var parameter(const Shape& shape) override {
    Leaf& leaf = next(shape);
    leaf.is_parameter = true;
    if (!tape_) return Var{leaf.parameter->value};
    return leaf.var = tape_->parameter(*leaf.parameter);
  }
  Tensor numbers(const std::vector<double>& values, const Shape& shape) override { return Tensor::of(values, shape); }
  Tensor integers(const std::vector<std::int64_t>& values, const Shape& shape) override {
    return Tensor::of(values, shape);
  }

  struct Leaf {
    std::unique_ptr<Parameter> parameter;
    bool is_parameter = false;
    Var var;
  };
  std::vector<Leaf>& leaves() { return leaves_; }
  const Tensor gradients = Tensor::zeros({1 << 14}, Dtype::f64, cpu());  // of all parameters
  Tensor random(const Shape& shape) {
    const Tensor t(shape, Dtype::f64, cpu());
    for (std::int64_t i = 0; i < t.numel(); ++i) t.data<double>()[i] = random_();
    return t;
  }

 private:
  Leaf& next(const Shape& shape) {
    if (next_leaf_ == leaves_.size()) {
      Leaf leaf;
      leaf.parameter = std::make_unique<Parameter>();
      leaf.parameter->value = random(shape);
      leaf.parameter->gradient = next_gradient_;
      next_gradient_ += shape.numel();
      // Not zero: an op that overwrites where it should add would pass otherwise.
      gradient_of(*leaf.parameter, gradients).copy_from(random(shape));
      leaves_.push_back(std::move(leaf));
    }
    return leaves_[next_leaf_++];
  }

  Random random_;
  std::int64_t edge_;
  Tape* tape_ = nullptr;
  std::vector<Leaf> leaves_;
  std::size_t next_leaf_ = 0;
  std::int64_t next_gradient_ = 0;
};

struct GradientError {
  double worst =
      0;  // |backward - difference| / max(|difference|, 1e-3 of the leaf's largest), worst element of all leaves
  std::string where;
};

// `op` is run again and again; its outputs must be a function of the example's leaves.
inline GradientError check_gradient(const std::function<std::vector<Var>(Example&)>& op, std::uint64_t seed = 1,
                                    std::int64_t edge = 0) {
  CheckExample e(seed, edge);
  Tape tape(e.gradients);
  e.start(&tape);
  const std::vector<Var> outputs = op(e);
  const Tensor before = e.gradients.contiguous_copy();
  std::vector<Tensor> cotangents;
  for (const Var& y : outputs) cotangents.push_back(e.random(y.shape()));
  const auto loss = [&] {
    e.start(nullptr);
    const std::vector<Var> y = op(e);
    double total = 0;
    for (std::size_t k = 0; k < y.size(); ++k) {
      const auto values = y[k].value.to_vector<double>(), weights = cotangents[k].to_vector<double>();
      for (std::size_t i = 0; i < values.size(); ++i) total += values[i] * weights[i];
    }
    return total;
  };
  tape.backward(outputs, cotangents);

  GradientError result;
  for (std::size_t l = 0; l < e.leaves().size(); ++l) {
    auto& leaf = e.leaves()[l];
    const Tensor& x = leaf.parameter->value;
    std::vector<double> got(static_cast<std::size_t>(x.numel()), 0.0), expected(got.size());
    if (leaf.is_parameter) {
      const auto sum = gradient_of(*leaf.parameter, e.gradients).to_vector<double>(),
                 old = gradient_of(*leaf.parameter, before).to_vector<double>();
      for (std::size_t i = 0; i < got.size(); ++i) got[i] = sum[i] - old[i];
    } else if (const Tensor g = tape.gradient(leaf.var)) {
      got = g.to_vector<double>();
    }
    double largest = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      constexpr double h = 1e-3;
      double* at = x.data<double>() + i;
      const double old = *at;
      double f[4];
      const double steps[4] = {-2 * h, -h, h, 2 * h};
      for (int k = 0; k < 4; ++k) *at = old + steps[k], f[k] = loss();
      *at = old;
      expected[i] = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h);
      largest = std::max(largest, std::abs(expected[i]));
    }
    for (std::size_t i = 0; i < got.size(); ++i) {
      const double error = std::abs(got[i] - expected[i]) / std::max({std::abs(expected[i]), 1e-3 * largest, 1e-9});
      if (!(error <= result.worst)) {
        result.worst = std::isnan(error) ? INFINITY : error;
        result.where = cat("leaf ", l, " element ", i, ": backward ", got[i], ", difference ", expected[i]);
      }
    }
  }
  return result;
}

}  // namespace ov::test
