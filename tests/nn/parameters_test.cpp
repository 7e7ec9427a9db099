// The flat buffers that parameters and gradients are ranges of.
#include "nn/parameters.h"

#include <doctest/doctest.h>

#include "tests/model/packed_rows.h"

using namespace ov;
using namespace ov::test;

namespace {

struct Attention {
  Attention() {
    set.declare("before", {2, 3}, Role::matrix);
    q = set.declare("q", {4, 3}, Role::matrix);
    k = set.declare("k", {2, 3}, Role::matrix);
    v = set.declare("v", {2, 3}, Role::matrix);
    qkv = set.fuse({q, k, v});
    set.declare("after", {5}, Role::bias);
    set.alias("again", q);
    set.allocate(Dtype::f64, cpu());
    for (std::int64_t i = 0; i < set.count(); ++i) set.values().data<double>()[i] = static_cast<double>(i);
  }
  Parameters set;
  Parameter *q, *k, *v, *qkv;
};

std::string fault(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) { return e.what(); }
  return "";
}

}  // namespace

TEST_CASE("parameters lie one after another in the order of their names; a fused one is a view over its neighbours") {
  Attention a;
  CHECK(a.set.count() == 6 + 12 + 6 + 6 + 5);
  std::int64_t next = 0;
  for (const auto& e : a.set.entries()) {
    CHECK(e.offset == next);
    CHECK(e.parameter.value.shape() == e.shape);
    CHECK(e.parameter.value.data<double>() == a.set.values().data<double>() + next);
    next += e.shape.numel();
  }
  CHECK(a.qkv->value.shape() == Shape{8, 3});
  CHECK(a.qkv->value.data<double>() == a.q->value.data<double>());
  a.v->value.data<double>()[5] = -1;
  CHECK(a.qkv->value.data<double>()[23] == -1);
  CHECK(a.set.find("again") == a.q);
  CHECK(a.set.find("k") == a.k);
  CHECK(a.set.find("nothing") == nullptr);
}

TEST_CASE("gradients exist for what is trained alone, one after another, and a fused one's is that of its parts") {
  Attention a;
  a.set.train([](const std::string& name) { return name != "before"; });
  CHECK(a.set.gradients().numel() == 29);
  CHECK_FALSE(a.set.find("before")->main_grad);
  CHECK_FALSE(a.set.find("before")->trainable);
  CHECK(a.set.gradient_offset(*a.q) == 0);
  CHECK(a.set.gradient_offset(*a.v) == 18);
  CHECK(a.set.gradient_offset(*a.set.find("after")) == 24);
  CHECK(a.qkv->main_grad.shape() == Shape{8, 3});
  CHECK(a.qkv->main_grad.data<double>() == a.q->main_grad.data<double>());
  for (std::int64_t i = 0; i < 29; ++i) CHECK(a.set.gradients().data<double>()[i] == 0);

  const Tensor flat({29}, Dtype::f64, cpu());
  CHECK(a.set.gradient_slice(flat, *a.qkv).data<double>() == flat.data<double>());
  CHECK(a.set.gradient_slice(flat, *a.k).data<double>() == flat.data<double>() + 12);
  CHECK(a.set.gradient_slice(flat, *a.k).shape() == Shape{2, 3});

  a.set.train([](const std::string& name) { return name == "after"; });
  CHECK(a.set.gradients().numel() == 5);
  CHECK_FALSE(a.qkv->trainable);
  CHECK_FALSE(a.qkv->main_grad);
}

TEST_CASE("half a fused product cannot be frozen, and only neighbours can be fused") {
  Attention a;
  CHECK(fault([&] {
          a.set.train([](const std::string& name) { return name == "q"; });
        }).find("freeze all of them or none") != std::string::npos);
  Parameters apart;
  Parameter* first = apart.declare("first", {2, 3}, Role::matrix);
  apart.declare("between", {1}, Role::bias);
  Parameter* last = apart.declare("last", {2, 3}, Role::matrix);
  apart.fuse({first, last});
  CHECK(fault([&] { apart.allocate(Dtype::f32, cpu()); }) ==
        "parameters: last does not follow its neighbour; they cannot be fused");
}
