// A fused op has the bits of the ops that it stands for: values and gradients, in every type, whatever is wanted.
#include <doctest/doctest.h>

#include "tests/check.h"
#include "tests/kernels/edge_example.h"
#include "tests/model/packed_rows.h"

using namespace ov;
using namespace ov::test;

namespace {

// Runs `op` on the same inputs as every other call; bit b of `seeded` says whether something flows back into output b.
std::vector<std::vector<double>> results(const std::function<std::vector<Var>(EdgeExample&)>& op, Dtype dtype,
                                         int seeded = ~0) {
  EdgeExample e(dtype, cpu(), -1, 0, test::Values::whole);
  const std::vector<Var> outputs = op(e);
  std::vector<Tensor> seeds;
  std::vector<std::vector<double>> result;
  for (const Var& y : outputs) {
    result.push_back(host(y.value));
    const Tensor seed = e.drawn(y.shape(), y.value.dtype());
    seeds.push_back(seeded >> seeds.size() & 1 ? seed : Tensor());
  }
  e.tape.backward(outputs, seeds);
  for (const auto& leaf : e.leaves) {
    const Tensor g = leaf.parameter ? gradient_of(*leaf.parameter, e.gradients) : e.tape.gradient(leaf.var);
    result.push_back(g ? host(g) : std::vector<double>{});
  }
  return result;
}

const Dtype types[] = {Dtype::f64, Dtype::f32, Dtype::bf16};

// Hears everything, keeps nothing.
struct Listener : Tracer {
  std::set<std::string> names;
  void activation(const std::string& name, const Tensor&) override { names.insert(name); }
};

}  // namespace

TEST_CASE("add_rms_norm has the bits of add and rms_norm, whichever of its outputs is used") {
  for (const Dtype dtype : types)
    for (const std::int64_t C : {1, 15, 33, 257})
      for (const int seeded : {1, 2, 3}) {
        const auto with = [&](bool fused) {
          return results(
              [&](EdgeExample& e) -> std::vector<Var> {
                const Var a = e.input({70, C}), b = e.input({70, C}), w = e.parameter({C});
                // What comes to h past the norm is summed in the accumulation type where h is used twice.
                const auto used = [&](const Var& h, const Var& y) { return std::vector<Var>{h + gelu(h), y}; };
                if (fused) {
                  const AddRmsNorm n = add_rms_norm(a, b, w, 1e-6);
                  return used(n.h, n.y);
                }
                const Var h = a + b;
                const Var y = rms_norm(h, w, 1e-6);
                return used(h, y);
              },
              dtype, seeded);
        };
        CHECK_MESSAGE(with(true) == with(false), name_of(dtype), " C ", C, " seeds ", seeded);
      }
}

TEST_CASE("norm_rope has the bits of rms_norm and rope, on heads inside a fused product too") {
  for (const Dtype dtype : types)
    for (const std::int64_t H : {1, 3})
      for (const std::int64_t D : {2, 34, 130}) {
        const auto with = [&](bool fused) {
          return results(
              [&](EdgeExample& e) -> std::vector<Var> {
                const std::int64_t T = 23;
                const Var cos = e.wide_input({T, D / 2}), sin = e.wide_input({T, D / 2}), w = e.parameter({D});
                const Var x = split(e.input({T, (H + 1) * D}), {{H, D}, {D}})[0];
                const RopeTable table{{cos.value}, {sin.value}};  // no gradient asked for
                return {fused ? norm_rope(x, w, 1e-6, table) : rope(rms_norm(x, w, 1e-6), table)};
              },
              dtype);
        };
        CHECK_MESSAGE(with(true) == with(false), name_of(dtype), " H ", H, " D ", D);
      }
}

TEST_CASE(
    "linear_cross_entropy has the bits of linear and cross_entropy at chunks of whole blocks of a product's sum") {
  constexpr std::int64_t N = 1000, C = 5, V = 9, block = linear_cross_entropy_rows;
  const auto with = [&](Dtype dtype, std::int64_t chunk) {
    return results(
        [&](EdgeExample& e) -> std::vector<Var> {
          std::vector<double> weight;
          std::vector<std::int64_t> target;
          for (std::int64_t n = 0; n < N; ++n) weight.push_back(double(n % 5) - 1), target.push_back(n * 7 % V);
          const Tensor weights = e.numbers(weight, {N}), targets = e.integers(target, {N});
          const Var x = e.input({N, C}), w = e.parameter({V, C});
          const CrossEntropy ce = chunk ? linear_cross_entropy(x, w, targets, weights, 3, chunk)
                                        : cross_entropy(linear(x, w), targets, weights, 3);
          return {ce.loss};
        },
        dtype);
  };
  for (const Dtype dtype : types) {
    const auto whole = with(dtype, 0);
    for (const std::int64_t chunk : {block, 2 * block, 3 * block}) CHECK(with(dtype, chunk) == whole);
    // Chunks that cut a block move the sums of dw, and of nothing else.
    const auto cut = with(dtype, 100);
    CHECK(cut[0] == whole[0]);
    CHECK(cut[1] == whole[1]);
    CHECK(cut[2] != whole[2]);
  }
}

TEST_CASE("a model's loss and gradients are the same bits with its logits in parts and whole, traced or not") {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const bool tied : {true, false}) {
      ModelConfig config = small_config();
      config.text.tied = tied;
      Onevision model(config);
      model.parameters().allocate(dtype, cpu());
      initialize(model.parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.2}, 1);
      model.parameters().train([](const Parameter&) { return true; });
      MicroBatch row = mixed_row(3);
      add_sample(row, 9, 0, 0, 1000);
      const StepTargets targets = loss_targets(as_step({row}), NormaliseBy::global_token_mean);
      REQUIRE(std::cmp_greater(targets.micro_batches[0].rows.size(), linear_cross_entropy_rows));
      const auto gradients = [&](Tracer* tracer, std::int64_t loss_rows) {
        const Tensor sums = model.parameters().gradient_buffer();
        sums.zero();
        Tape tape(sums, tracer);
        const LanguageLoss l =
            language_loss(model, tape, row, targets.micro_batches[0], targets.denominator, {}, loss_rows);
        int fused = 0;
        for (const Node& n : tape.nodes())
          fused += n.op == Op::add_rms_norm || n.op == Op::norm_rope || n.op == Op::linear_cross_entropy;
        CHECK(fused == (loss_rows > 0));
        l.backward(tape);
        auto all = host(sums);
        all.push_back(host(l.loss.value)[0]);
        return all;
      };
      Listener listener;
      const auto expected = gradients(&listener, 0);
      CHECK(listener.names.contains("model.language_model.layers.1.self_attn.k_norm"));
      CHECK(gradients(nullptr, 0) == expected);
      CHECK(gradients(nullptr, linear_cross_entropy_rows) == expected);
    }
}
