// The flat buffers that parameters and gradients are ranges of.
#include "nn/parameters.h"

#include <doctest/doctest.h>

#include "tests/check.h"
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
  a.set.train([](const Parameter& p) { return p.name != "before"; });
  const Tensor flat = a.set.gradient_buffer();
  CHECK(flat.shape() == Shape{29});
  CHECK(a.set.trained() == 29);
  CHECK_FALSE(gradient_of(*a.set.find("before"), flat));
  CHECK_FALSE(a.set.find("before")->trainable);
  CHECK(a.q->gradient == 0);
  CHECK(a.v->gradient == 18);
  CHECK(a.set.find("after")->gradient == 24);
  CHECK(gradient_of(*a.qkv, flat).shape() == Shape{8, 3});
  CHECK(gradient_of(*a.qkv, flat).data<double>() == flat.data<double>());
  CHECK(gradient_of(*a.k, flat).data<double>() == flat.data<double>() + 12);
  CHECK(gradient_of(*a.k, flat).shape() == Shape{2, 3});
  CHECK_FALSE(gradient_of(*a.k, {}));
  CHECK_FALSE(a.set.masters());  // f64 accumulates in itself

  a.set.train([](const Parameter& p) { return p.name == "after"; });
  CHECK(a.set.trained() == 5);
  CHECK_FALSE(a.qkv->trainable);
  CHECK_FALSE(gradient_of(*a.qkv, flat));
}

TEST_CASE("values that accumulate in a wider type have masters of what is trained, laid out as its gradients") {
  Parameters set;
  set.declare("frozen", {3}, Role::matrix);
  set.declare("trained", {2, 2}, Role::matrix);
  set.allocate(Dtype::bf16, cpu());
  set.values().copy_from(Tensor::of<float>({9, 9, 9, 1.5f, -2, 0.25f, 3}, {7}).to(Dtype::bf16));
  set.train([](const Parameter& p) { return p.name == "trained"; });
  CHECK(set.gradient_buffer().dtype() == Dtype::f32);
  CHECK_FALSE(set.masters());
  set.make_masters(0, 4);
  CHECK(set.masters().to_vector<float>() == std::vector<float>{1.5f, -2, 0.25f, 3});
  // A rank that updates the middle of it.
  const Parameter& p = *set.find("trained");
  const std::int64_t before = cpu().memory().bytes[static_cast<std::size_t>(Segment::weights)];
  set.make_masters(1, 3);
  CHECK(cpu().memory().bytes[static_cast<std::size_t>(Segment::weights)] == before - 2 * 4);
  CHECK(set.master_of(p).begin == 1);
  CHECK(set.master_of(p).values.to_vector<float>() == std::vector<float>{-2, 0.25f});
  CHECK(thrown([&] { set.precise(p); }) == "trained: other ranks have some of its master");
}

TEST_CASE("a parameter knows the module it was declared in and its role; no two have one name") {
  const auto model = small_model();
  for (const auto& e : model->parameters().entries()) {
    const Parameter& p = e.parameter;
    CAPTURE(p.name);
    const bool visual = p.name.starts_with("model.visual."), merger = p.name.starts_with("model.visual.merger.");
    CHECK(p.module == (merger ? Module::adapter : visual ? Module::vision_model : Module::language_model));
    CHECK((p.role == Role::class_vector || p.role == Role::class_angles) == p.name.starts_with("model.visual.class_"));
    CHECK((p.role == Role::bias) ==
          (p.name.ends_with(".bias") && p.name.find("norm") == p.name.npos && p.name.find("ln_q") == p.name.npos));
    CHECK(model->parameters().find(p.name) == &p);
  }
  Parameters twice;
  twice.declare("w", {1}, Role::matrix);
  CHECK(thrown([&] { twice.declare("w", {2}, Role::bias); }) == "parameters: two have the name w");
}

TEST_CASE("half a fused product cannot be frozen, and only neighbours can be fused") {
  Attention a;
  CHECK(thrown([&] {
          a.set.train([](const Parameter& p) { return p.name == "q"; });
        }).find("freeze all of them or none") != std::string::npos);
  Parameters apart;
  Parameter* first = apart.declare("first", {2, 3}, Role::matrix);
  apart.declare("between", {1}, Role::bias);
  Parameter* last = apart.declare("last", {2, 3}, Role::matrix);
  apart.fuse({first, last});
  CHECK(thrown([&] { apart.allocate(Dtype::f32, cpu()); }) ==
        "parameters: last does not follow its neighbour; they cannot be fused");
}

TEST_CASE(
    "parameters: borrowed values stay where they lie, but for parts of a product that lie apart or another type") {
  Attention flat;
  const auto stored = [&](const Parameters::Entry& e) { return flat.set.find(e.parameter.name)->value; };
  Attention a;
  a.set.borrow(Dtype::f64, stored);
  CHECK_FALSE(a.set.values());
  CHECK(a.set.dtype() == Dtype::f64);
  for (const auto& e : a.set.entries()) CHECK(e.parameter.value.bytes() == stored(e).bytes());
  CHECK(a.qkv->value.bytes() == flat.q->value.bytes());
  CHECK(same_bits(a.qkv->value, flat.qkv->value));

  const Tensor elsewhere = flat.k->value.contiguous_copy();  // as in a file that is sorted by name
  const auto apart = [&](const Parameters::Entry& e) { return e.parameter.name == "k" ? elsewhere : stored(e); };
  Attention b;
  b.set.borrow(Dtype::f64, apart);
  CHECK(same_bits(b.qkv->value, flat.qkv->value));
  CHECK(b.qkv->value.bytes() != flat.qkv->value.bytes());
  CHECK(b.v->value.bytes() == b.qkv->value.slice(0, 6, 8).bytes());
  CHECK(b.set.find("before")->value.bytes() == flat.set.find("before")->value.bytes());

  Attention narrow;
  narrow.set.borrow(Dtype::bf16, stored);
  for (const auto& e : narrow.set.entries()) CHECK(same_bits(e.parameter.value, stored(e).to(Dtype::bf16)));
  CHECK(same_bits(narrow.qkv->value, flat.qkv->value.to(Dtype::bf16)));
  CHECK_FALSE(narrow.qkv->value.storage()->owner);  // converted parts may lie side by side: they are not one memory
}
