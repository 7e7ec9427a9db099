#include <doctest/doctest.h>

#include "tests/autograd/gradient_check.h"

#include "kernels/gelu.h"

using namespace ov;

TEST_CASE("every op's backward is the derivative of its forward") {
  for (const OpRow* op : rows()) {
    CAPTURE(op->name);
    CHECK(op->tolerance <= 1e-7);
    for (std::uint64_t seed : {1, 2}) {
      const test::GradientError error = test::check_gradient(op->example, seed);
      CHECK_MESSAGE(error.worst <= op->tolerance, op->name, ": ", error.worst, " at ", error.where);
    }
  }
}

TEST_CASE("every op's backward at sizes on both sides of a vector and of a sum's sixteen lanes") {
  for (const OpRow* op : rows())
    for (const std::int64_t edge : {1, 2, 8, 15, 16, 17}) {
      // A norm of one element is constant: its gradient is zero, and relative errors of it mean nothing.
      if (edge == 1 && (op->op == Op::layer_norm || op->op == Op::rms_norm)) continue;
      const test::GradientError error = test::check_gradient(op->example, 3, edge);
      CHECK_MESSAGE(error.worst <= op->tolerance, op->name, " at ", edge, ": ", error.worst, " at ", error.where);
    }
}

TEST_CASE("the gradient check finds a wrong backward") {
  const auto wrong_by = [](double factor) {
    return [factor](Example& e) -> std::vector<Var> {
      const Var x = e.input({3, 4});
      const Tensor y = Tensor::like(x.value);
      kernels::gelu_forward({.y = y, .x = x.value});
      return {record({.op = Op::gelu,
                      .inputs = {x},
                      .outputs = {y},
                      .saved = {x.value},
                      .backward = [factor](const Node& n, Grads& d) {
                        kernels::gelu_backward({.dx = d.in[0], .dy = d.out[0], .x = n.saved[0]});
                        d.in[0].data<double>()[5] *= factor;
                      }})};
    };
  };
  CHECK(test::check_gradient(wrong_by(1)).worst <= 1e-8);
  CHECK(test::check_gradient(wrong_by(1.0001)).worst > 1e-5);
  CHECK(test::check_gradient(wrong_by(0)).worst > 0.5);
}

TEST_CASE("a gradient that overwrites where it should add is found") {
  const auto op = [](Example& e) -> std::vector<Var> {
    const Var x = e.input({3, 4}), w = e.parameter({2, 4});
    const Tensor y({3, 2}, Dtype::f64, cpu());
    const Var good = linear(x, w);
    y.copy_from(good.value);
    return {record({.op = Op::linear,
                    .inputs = {x, w},
                    .outputs = {y},
                    .saved = {x.value, w.value},
                    .backward = [](const Node& n, Grads& d) {
                      if (d.in[1]) d.in[1].zero();
                      for (std::int64_t i = 0; i < 3; ++i)
                        for (std::int64_t f = 0; f < 2; ++f)
                          for (std::int64_t c = 0; c < 4; ++c) {
                            const double dy = d.out[0].data<double>()[i * 2 + f];
                            d.in[1].data<double>()[f * 4 + c] += dy * n.saved[0].data<double>()[i * 4 + c];
                            d.in[0].data<double>()[i * 4 + c] =
                                (f ? d.in[0].data<double>()[i * 4 + c] : 0) + dy * n.saved[1].data<double>()[f * 4 + c];
                          }
                    }})};
  };
  CHECK(test::check_gradient(op).worst > 0.1);
}

TEST_CASE("nothing is recorded without a tape, or when nobody wants a gradient") {
  const Tensor x = Tensor::of<double>({1, 2, 3, 4}, {2, 2});
  CHECK(gelu(Var{x}).tape == nullptr);
  Tape tape;
  gelu(tape.input(x, false));
  CHECK(tape.nodes().empty());
  gelu(tape.input(x, true));
  CHECK(tape.nodes().size() == 1);
}

TEST_CASE("shapes that do not fit are refused by name") {
  const Var x{Tensor::of<double>({1, 2, 3, 4}, {2, 2})}, w{Tensor::of<double>({1, 2, 3}, {3})};
  CHECK_THROWS_WITH_AS(rms_norm(x, w, 1e-6), "rmsnorm_forward: argument w: expected [C], got f64 [3], where C is 2",
                       Error);
}
