// What the rows say an operation costs, by what is wanted; and who owns the buffers of gradients.
#include "autograd/cost.h"

#include <doctest/doctest.h>

#include <set>
#include <string>

#include "autograd/op_times.h"
#include "tests/autograd/gradient_check.h"

using namespace ov;

namespace {

Tensor some(const Shape& shape) { return Tensor::zeros(shape, Dtype::f32, cpu()); }

// What the tape counted, forward and backward, of an op whose inputs want gradients as `wanted` says.
Tape::Products products_of(const std::function<Var(Tape&)>& op) {
  Tape tape;
  const Var y = op(tape);
  if (tape.wants(y)) tape.backward(y, some(y.shape()));
  return tape.products();
}

}  // namespace

TEST_CASE("every row stands at its op's place, under a name of its own") {
  std::set<std::string> names;
  for (std::size_t i = 0; i < rows().size(); ++i) {
    CHECK(rows()[i]->op == static_cast<Op>(i));
    CHECK(names.insert(rows()[i]->name).second);
  }
}

TEST_CASE("attention: the kernel computes all three gradients or none, so any one of them costs as much as all") {
  const std::int64_t T = 6, H = 4, K = 2, D = 8, pairs = 2 * (3 * 4 / 2);
  const auto segments =
      std::make_shared<kernels::Segments>(kernels::SegmentTable{{0, 3, 0, 3}, {3, 3, 3, 3}}, T, T, true, cpu());
  for (int wanted = 0; wanted < 8; ++wanted) {
    CAPTURE(wanted);
    const Tape::Products p = products_of([&](Tape& t) {
      return attention(t.input(some({T, H, D}), wanted & 1), t.input(some({T, K, D}), wanted & 2),
                       t.input(some({T, K, D}), wanted & 4), {segments, 1});
    });
    CHECK(p.forward == 2 * H * D * pairs);
    CHECK(p.backward == (wanted ? 4 * H * D * pairs : 0));
  }
}

TEST_CASE("linear: one product for dx, one for dw, none for the bias") {
  const std::int64_t N = 5, C = 7, F = 3;
  for (int wanted = 0; wanted < 8; ++wanted) {
    CAPTURE(wanted);
    const Tape::Products p = products_of([&](Tape& t) {
      return linear(t.input(some({N, C}), wanted & 1), t.input(some({F, C}), wanted & 2),
                    t.input(some({F}), wanted & 4));
    });
    CHECK(p.forward == N * C * F);
    CHECK(p.backward == N * C * F * ((wanted & 1) + (wanted >> 1 & 1)));
  }
}

TEST_CASE("bytes: backward reads the outputs' gradients and what was saved, and writes what is wanted") {
  const std::int64_t N = 5, C = 7, array = N * C * 4;
  const auto laps = [&](const std::function<Var(Tape&)>& op) {
    Tape tape;
    OpTimes times;
    tape.measure(&times);
    const Var y = op(tape);
    if (tape.wants(y)) tape.backward(y, some(y.shape()));
    std::vector<std::int64_t> bytes;
    for (const auto& d : times.done)
      bytes.push_back(d.pass == Pass::forward ? d.cost.forward_bytes : d.cost.backward_bytes);
    return bytes;
  };
  using Bytes = std::vector<std::int64_t>;
  CHECK(laps([&](Tape& t) { return gelu(t.input(some({N, C}), false)); }) == Bytes{2 * array});
  CHECK(laps([&](Tape& t) { return gelu(t.input(some({N, C}), true)); }) == Bytes{2 * array, 3 * array});
  const auto gated = [&](bool gate, bool up) {
    return laps([&](Tape& t) { return swiglu(t.input(some({N, C}), gate), t.input(some({N, C}), up)); });
  };
  CHECK(gated(true, true) == Bytes{3 * array, 5 * array});
  CHECK(gated(true, false) == Bytes{3 * array, 4 * array});
  CHECK(gated(false, false) == Bytes{3 * array});
  // The terms' gradients are the sum's; a view moves nothing; of a table only the rows that are read.
  CHECK(laps([&](Tape& t) {
          return add(t.input(some({N, C}), true), t.input(some({N, C}), true));
        }) == Bytes{3 * array, 0});
  CHECK(laps([&](Tape& t) { return view(t.input(some({N, C}), true), {C, N}); }) == Bytes{0, 0});
  CHECK(laps([&](Tape& t) {
          return embedding(Tensor::of<std::int64_t>({2, 0}, {2}), t.input(some({1000, C}), true));
        }) == Bytes{2 * 2 * C * 4, 3 * 2 * C * 4});
}

TEST_CASE("a block that is run again costs what it costs once, forward and backward; the rest is recomputation") {
  const auto block = [](std::span<const Var> x) { return std::vector<Var>{linear(gelu(x[0]), x[1])}; };
  const auto run = [&](bool again, OpTimes& times) {
    Tape tape;
    tape.measure(&times);
    const std::vector<Var> in = {tape.input(some({5, 7}), true), tape.input(some({3, 7}), true)};
    const Var y = again ? recompute(block, in, false)[0] : block(in)[0];
    tape.backward(y, some({5, 3}));
    return tape.products();
  };
  OpTimes kept, again;
  const Tape::Products a = run(false, kept), b = run(true, again);
  CHECK(a.recomputed == 0);
  CHECK(b.recomputed == a.forward);
  CHECK(b.forward == a.forward);
  CHECK(b.backward == a.backward);
  const auto bytes = [](const OpTimes& t) {
    std::int64_t sum = 0;
    for (const auto& d : t.done) sum += d.pass == Pass::forward ? d.cost.forward_bytes : d.cost.backward_bytes;
    return sum;
  };
  CHECK(bytes(kept) == bytes(again));
}

TEST_CASE("every row: nothing is computed backward that nobody wants, and only views move nothing forward") {
  for (const OpRow* r : rows()) {
    CAPTURE(r->name);
    test::CheckExample e(1);
    Tape tape(e.gradients);
    e.start(&tape);
    r->example(e);
    int seen = 0;
    for (Node n : tape.nodes()) {
      if (n.op != r->op) continue;
      ++seen;
      const bool views = r->op == Op::split || r->op == Op::view || r->op == Op::recompute || r->op == Op::on_gradient;
      CHECK((r->cost(n).forward_bytes > 0) == !views);
      n.wanted.assign(n.wanted.size(), false);
      CHECK(r->cost(n).backward_bytes == 0);
      CHECK(r->cost(n).backward_values.exp + r->cost(n).backward_values.erf == 0);
      CHECK(r->cost(n).multiply_adds(Pass::backward) + r->cost(n).multiply_adds(Pass::again) == 0);
      for (std::size_t i = 0; i < n.wanted.size(); ++i) CHECK((r->owner(i) == Owner::slice) == (r->op == Op::split));
    }
    CHECK(seen > 0);
  }
}
