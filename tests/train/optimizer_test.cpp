// AdamW over the flat buffers, and what the trainer does when numbers go wrong.
#include "train/optimizer.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "base/rng.h"
#include "kernels/adamw.h"
#include "tests/check.h"
#include "tests/model/packed_rows.h"
#include "train/objectives/language.h"

using namespace ov;
using namespace ov::test;

namespace {

// One parameter of each kind that the rules tell apart, and one longer than a chunk of the norm.
struct Kinds {
  explicit Kinds(Dtype dtype = Dtype::f64, const std::string& frozen = "") {
    set.in(Module::vision_model).declare("model.visual.class_embedding", {6}, Role::class_vector);
    set.declare("model.visual.class_pos_emb", {1, 4}, Role::class_angles);
    set.declare("model.visual.blocks.0.attn.qkv.weight", {9, 3}, Role::matrix);
    set.declare("model.visual.blocks.0.attn.qkv.bias", {9}, Role::bias);
    set.in(Module::adapter).declare("model.visual.merger.mlp.0.weight", {5, 4}, Role::matrix);
    set.in(Module::language_model).declare("model.language_model.embed_tokens.weight", {131, 37}, Role::embedding);
    set.declare("model.language_model.norm.weight", {37}, Role::norm_weight);
    set.allocate(dtype, cpu());
    initialize(set, {.matrix_std = 1, .embedding_std = 1}, 3);
    set.train([&](const Parameter& p) { return p.name != frozen; });
  }
  Parameters set;
};

// A gradient for every trained parameter, whatever else is trained.
Tensor gradients(const Parameters& set, std::uint64_t step, double size) {
  const Tensor g(Shape{set.trained()}, set.dtype(), cpu());
  for (const auto& e : set.entries()) {
    if (!e.parameter.trainable) continue;
    const Philox random(step, e.parameter.name);
    for (std::int64_t i = 0; i < e.shape.numel(); ++i) {
      const double x = size * random.normal(static_cast<std::uint64_t>(i));
      const std::int64_t at = e.parameter.gradient + i;
      if (set.dtype() == Dtype::f64) g.data<double>()[at] = x;
      else g.data<float>()[at] = static_cast<float>(x);
    }
  }
  return g;
}

std::vector<double> values(const Parameters& set) { return set.values().to(Dtype::f64).to_vector<double>(); }

// The textbook: Loshchilov and Hutter, algorithm 2, one number at a time, with a clipped gradient and no decay of
// biases, vectors and what `no_decay` names.
class Plain {
 public:
  Plain(const Kinds& kinds, const OptimizerOptions& o)
      : set_(kinds.set), o_(o), p(values(kinds.set)), m_(p.size()), v_(p.size()) {}

  double step(const Tensor& flat, double lr) {
    const auto g = flat.to(Dtype::f64).to_vector<double>();
    double squares = 0;
    for (const double x : g) squares += x * x;
    const double norm = std::sqrt(squares), scale = o_.clip_grad > 0 ? std::min(1.0, o_.clip_grad / (norm + 1e-6)) : 1;
    ++t_;
    for (const auto& e : set_.entries()) {
      const std::string& name = e.parameter.name;
      if (!e.parameter.trainable) continue;
      bool decays = e.shape.rank() > 1 && name.substr(name.size() - 5) != ".bias";
      for (const std::string& part : o_.no_decay) decays = decays && name.find(part) == name.npos;
      const bool tower = name.find("visual") != name.npos && name.find("merger") == name.npos;
      const double rate = lr * (tower ? o_.visual_lr_scale : 1);
      for (std::int64_t i = 0; i < e.shape.numel(); ++i) {
        const auto at = static_cast<std::size_t>(e.offset + i);
        const double x = scale * g[static_cast<std::size_t>(e.parameter.gradient + i)];
        m_[at] = o_.beta1 * m_[at] + (1 - o_.beta1) * x;
        v_[at] = o_.beta2 * v_[at] + (1 - o_.beta2) * x * x;
        const double m_hat = m_[at] / (1 - std::pow(o_.beta1, t_)), v_hat = v_[at] / (1 - std::pow(o_.beta2, t_));
        if (decays) p[at] -= rate * o_.weight_decay * p[at];
        p[at] -= rate * m_hat / (std::sqrt(v_hat) + o_.eps);
      }
    }
    return norm;
  }

 private:
  const Parameters& set_;
  OptimizerOptions o_;

 public:
  std::vector<double> p;

 private:
  std::vector<double> m_, v_;
  int t_ = 0;
};

// One update; returns the norm.
double step(Optimizer& optimizer, const Tensor& gradients, double lr) {
  const Tensor norm({1}, Dtype::f64, gradients.device());
  optimizer.step(gradients, lr, norm);
  return read_scalar(norm);
}

OptimizerOptions all_rules() {
  return {.beta1 = 0.9,
          .beta2 = 0.99,
          .eps = 1e-5,
          .weight_decay = 0.1,
          .clip_grad = 1,
          .no_decay = {"class_pos_emb"},
          .visual_lr_scale = 0.2};
}

// The largest difference from the textbook after ten steps with `actual` where the textbook follows `rules`; sizes of
// gradients below and above the clipping limit. Values are of size 1, rates of 1e-2.
double worst_after_ten(Dtype dtype, const OptimizerOptions& actual, const OptimizerOptions& rules,
                       const std::string& frozen = "") {
  Kinds kinds(dtype, frozen);
  Plain plain(kinds, rules);
  Optimizer optimizer(kinds.set, actual);
  for (std::uint64_t s = 1; s <= 10; ++s) {
    const Tensor g = gradients(kinds.set, s, s % 2 ? 1e-3 : 1);
    const double norm = step(optimizer, g, 1e-2), expected = plain.step(g, 1e-2);
    CHECK(std::abs(norm - expected) <= 1e-12 * expected);
  }
  CHECK(optimizer.steps() == 10);
  const auto got = values(kinds.set);
  double worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i) worst = std::max(worst, std::abs(got[i] - plain.p[i]));
  return worst;
}

}  // namespace

TEST_CASE("AdamW is the textbook's: decay lists, the tower's own rate, clipping, frozen parameters left out (R-38)") {
  // Ten updates of about ten roundings each, of values up to 4.5 and steps up to 1e-2.
  CHECK(worst_after_ten(Dtype::f64, all_rules(), all_rules()) <= 10 * 10 * 4.5 * 0x1p-53);
  CHECK(worst_after_ten(Dtype::f32, all_rules(), all_rules()) <= 10 * 10 * 4.5 * 0x1p-24);
  for (const char* frozen :
       {"model.visual.class_embedding", "model.visual.merger.mlp.0.weight", "model.language_model.norm.weight"})
    CHECK(worst_after_ten(Dtype::f64, all_rules(), all_rules(), frozen) <= 10 * 10 * 4.5 * 0x1p-53);
}

TEST_CASE("twin: leaving out any rule of AdamW is noticed") {
  const auto without = [](auto change) {
    OptimizerOptions o = all_rules();
    change(o);
    return worst_after_ten(Dtype::f64, o, all_rules());
  };
  CHECK(without([](OptimizerOptions& o) { o.no_decay.clear(); }) > 1e-6);
  CHECK(without([](OptimizerOptions& o) { o.visual_lr_scale = 1; }) > 1e-6);
  CHECK(without([](OptimizerOptions& o) { o.clip_grad = 0; }) > 1e-6);
  CHECK(without([](OptimizerOptions& o) { o.weight_decay = 0; }) > 1e-6);
  CHECK(without([](OptimizerOptions& o) { o.eps = 1e-8; }) > 1e-6);
  CHECK(without([](OptimizerOptions& o) { o.beta2 = 0.999; }) > 1e-6);
}

TEST_CASE("moments in bf16 are the textbook's, each rounded when it is kept, and the update sees them before that") {
  // By hand in f64: of every element two candidates, the neighbours of what the textbook has.
  for (const Moments moments : {Moments::bf16, Moments::bf16_stochastic}) {
    Kinds kinds;
    OptimizerOptions o{.clip_grad = 0, .moments = moments, .no_decay = {}};
    Optimizer optimizer(kinds.set, o);
    CHECK(optimizer.first_moment().dtype() == Dtype::bf16);
    const auto kept = [](const Tensor& t) { return t.to(Dtype::f64).to_vector<double>(); };
    std::int64_t nearest = 0, all = 0;
    for (std::uint64_t s = 1; s <= 4; ++s) {
      const auto m = kept(optimizer.first_moment()), v = kept(optimizer.second_moment()), p = values(kinds.set);
      const Tensor g = gradients(kinds.set, s, 1);
      step(optimizer, g, 1e-2);
      const auto m2 = kept(optimizer.first_moment()), v2 = kept(optimizer.second_moment()), p2 = values(kinds.set);
      for (std::size_t i = 0; i < m.size(); ++i) {
        const double x = g.data<double>()[i], exact_m = o.beta1 * m[i] + (1 - o.beta1) * x,
                     exact_v = o.beta2 * v[i] + (1 - o.beta2) * (x * x), t = static_cast<double>(s);
        const double update =
            exact_m / (1 - std::pow(o.beta1, t)) / (std::sqrt(exact_v / (1 - std::pow(o.beta2, t))) + o.eps);
        CHECK(p2[i] == doctest::Approx(p[i] - 1e-2 * update).epsilon(1e-12));
        for (const auto& [exact, got] : {std::pair{exact_m, m2[i]}, {exact_v, v2[i]}}) {
          const auto up = static_cast<double>(static_cast<float>(Bf16(static_cast<float>(exact))));
          // bf16 keeps 7 of f64's 52 bits behind the point: the neighbour nearer to 0, and the next.
          const std::uint64_t toward_0 = std::bit_cast<std::uint64_t>(exact) >> 45 << 45;
          const auto away = std::bit_cast<double>(toward_0 + (std::uint64_t{1} << 45));
          CHECK((got == std::bit_cast<double>(toward_0) || got == away));
          nearest += got == up, ++all;
        }
      }
    }
    CHECK((nearest == all) == (moments == Moments::bf16));
  }
}

TEST_CASE("bf16 moments rounded by chance are right on average, where the nearest keeps a v that should decay (G-40)") {
  constexpr std::int64_t n = 20000;
  Parameters set;
  set.in(Module::language_model).declare("w", {n}, Role::norm_weight);
  set.allocate(Dtype::f32, cpu());
  set.train([](const Parameter&) { return true; });
  const auto mean_v = [&](Moments moments) {
    Optimizer optimizer(set, {.beta2 = 0.999, .clip_grad = 0, .moments = moments, .no_decay = {}});
    const Tensor g({n}, Dtype::f32, cpu());
    g.fill(1);
    step(optimizer, g, 0);  // v = 0.001 or a neighbour
    g.fill(0);
    const auto mean = [&] {
      double sum = 0;
      for (const float v : optimizer.second_moment().to(Dtype::f32).to_vector<float>()) sum += v;
      return sum / n;
    };
    const double before = mean();
    for (int s = 0; s < 100; ++s) step(optimizer, g, 0);
    return mean() / before;
  };
  // A step of bf16 there is 2^-7 to 2^-8 of v: 101 roundings of n elements, each of at most half of it in deviation.
  const double exact = std::pow(0.999, 100), bound = 5 * 0x1p-8 * std::sqrt(101.0 / n);
  CHECK(mean_v(Moments::full) == doctest::Approx(exact).epsilon(1e-4));
  CHECK(std::abs(mean_v(Moments::bf16_stochastic) - exact) < bound);
  CHECK(mean_v(Moments::bf16) == 1);
}

TEST_CASE(
    "moments rounded by chance have the same bits by ranges, of parts and for any threads; another seed's differ "
    "(G-39)") {
  const auto run = [](int n, std::int64_t range, bool parts, std::uint64_t seed, Moments moments) {
    const Threads scope(n);
    Kinds kinds(Dtype::f32);
    HostDevice host(Device::Kind::cpu, "host", cpu().table);
    OptimizerOptions o = all_rules();
    o.moments = moments, o.seed = seed, o.range = range;
    o.clip_grad = 0;
    if (range > 0) o.state_on = &host;
    const std::int64_t all = kinds.set.trained(), half = kernels::norm_chunk;
    std::vector<std::unique_ptr<Optimizer>> optimizers;
    if (parts) {
      optimizers.push_back(std::make_unique<Optimizer>(kinds.set, o, Range{0, half}));
      optimizers.push_back(std::make_unique<Optimizer>(kinds.set, o, Range{half, all}));
    } else {
      optimizers.push_back(std::make_unique<Optimizer>(kinds.set, o));
    }
    std::vector<double> said;
    for (std::uint64_t s = 1; s <= 3; ++s)
      for (const auto& optimizer : optimizers) {
        const Tensor g = gradients(kinds.set, s, 1), norm({1}, Dtype::f64, cpu());
        optimizer->step(g.slice(0, optimizer->own().begin, optimizer->own().end), 1e-2, norm,
                        [](const Tensor& squares) { squares.fill(1); });  // nothing is clipped
      }
    for (const bool second : {false, true})
      for (const auto& optimizer : optimizers)
        for (const double x :
             (second ? optimizer->second_moment() : optimizer->first_moment()).to(Dtype::f64).to_vector<double>())
          said.push_back(x);
    for (const double x : values(kinds.set)) said.push_back(x);
    return said;
  };
  const auto expected = run(1, 0, false, 1, Moments::bf16_stochastic);
  CHECK(run(3, 0, false, 1, Moments::bf16_stochastic) == expected);
  CHECK(run(1, 333, false, 1, Moments::bf16_stochastic) == expected);
  CHECK(run(2, 0, true, 1, Moments::bf16_stochastic) == expected);
  CHECK(run(2, 1000, true, 1, Moments::bf16_stochastic) == expected);
  CHECK(run(1, 0, false, 2, Moments::bf16_stochastic) != expected);
  CHECK(run(1, 0, false, 1, Moments::bf16) != expected);
}

TEST_CASE("the norm of the gradients is the root of the sum of squares, over chunks and their remainder") {
  for (const std::int64_t n : {1, 4095, 4096, 4097, 12289}) {
    const Tensor g({n}, Dtype::f32, cpu());
    for (std::int64_t i = 0; i < n; ++i) g.data<float>()[i] = i % 2 ? 2.0F : 1.0F;
    const auto odd = static_cast<double>(n / 2), even = static_cast<double>(n - n / 2);
    CHECK(gradient_norm(g) == std::sqrt(even + 4 * odd));
  }
}

TEST_CASE("a gradient that is not finite changes neither parameters nor moments") {
  for (const double bad : {static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    Kinds kinds;
    Optimizer optimizer(kinds.set, all_rules());
    step(optimizer, gradients(kinds.set, 1, 1), 1e-2);
    const auto before = values(kinds.set), m = optimizer.first_moment().to_vector<double>(),
               v = optimizer.second_moment().to_vector<double>();
    const Tensor g = gradients(kinds.set, 2, 1);
    g.data<double>()[17] = bad;
    CHECK_FALSE(std::isfinite(step(optimizer, g, 1e-2)));
    CHECK(values(kinds.set) == before);
    CHECK(optimizer.first_moment().to_vector<double>() == m);
    CHECK(optimizer.second_moment().to_vector<double>() == v);
  }
}

TEST_CASE("rate 0 moves nothing, though the moments learn (the original's first step) (T-04)") {
  Kinds kinds;
  Optimizer optimizer(kinds.set, all_rules());
  const auto before = values(kinds.set);
  step(optimizer, gradients(kinds.set, 1, 1), 0);
  CHECK(values(kinds.set) == before);
  CHECK(gradient_norm(optimizer.first_moment()) > 0);
  CHECK(optimizer.steps() == 1);
}

TEST_CASE("the NaN guard names the step and the first tensor that went wrong, and leaves the parameters alone") {
  struct Case {
    const char* parameter;
    const char* says;
  };
  for (const Case& c : {Case{"model.visual.blocks.1.norm1.weight", "activation model.visual.blocks.1.norm1 "},
                        Case{"model.visual.merger.mlp.2.bias", "activation model.visual.merger.mlp "},
                        Case{"model.language_model.layers.1.mlp.up_proj.weight",
                             "activation model.language_model.layers.1.mlp.up_proj "}}) {
    const auto model = small_model();
    MicroBatch clean;
    add_sample(clean, 1, 0, 0, 9);
    FixedSteps data({as_step({mixed_row(1)}), as_step({clean, mixed_row(2)})});
    TrainOptions options;
    options.schedule.first_step = 1;
    Training trainer(*model, data, options);
    trainer.step();
    model->parameters().find(c.parameter)->value.data<float>()[2] = NAN;
    const Tensor before = model->parameters().values().contiguous_copy();
    std::string message;
    try {
      trainer.step();
    } catch (const Error& e) {
      message = e.what();
      CHECK(e.exit() == Exit::machine_failed);
    }
    CAPTURE(message);
    CHECK(message.find("step 2") != std::string::npos);
    CHECK(message.find(c.says) != std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
    CHECK(same_bits(model->parameters().values(), before));
    CHECK(trainer.steps_done() == 1);
    CHECK(trainer.optimizer().steps() == 1);
  }
}

TEST_CASE("a gradient that overflows while all activations are finite is named by its parameter") {
  const auto model = small_model();
  // The product of the two is as before, and so are the logits; the gradient of the small one is 1e38 times as large.
  const Tensor w = model->parameters().find("model.language_model.norm.weight")->value;
  const Tensor table = model->parameters().find("model.language_model.embed_tokens.weight")->value;
  for (std::int64_t i = 0; i < w.numel(); ++i) w.data<float>()[i] = 1e-38F;
  for (std::int64_t i = 0; i < table.numel(); ++i) table.data<float>()[i] *= 1e38F;
  FixedSteps data({as_step({mixed_row(1)})});
  Training trainer(*model, data, {});
  std::string message;
  try {
    trainer.step();
  } catch (const Error& e) { message = e.what(); }
  CAPTURE(message);
  CHECK(message.find("step 1: not a finite number; first in the gradient of model.language_model.norm.weight") !=
        std::string::npos);
}
