// The whole model as a function: its loss, its derivative, and what training can and cannot move. Codes such as R-06
// and T-08 number the requirements and traps that came from reading the original trainer; each name says what is meant.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/check.h"
#include "tests/model/packed_rows.h"
#include "train/objectives/language.h"

using namespace ov;
using namespace ov::test;

namespace {

// d/dh loss(values + h u) at 0 by central differences of order 4 with step h; `begin`, `count`: the elements that move.
double difference(Onevision& model, const GlobalStep& step, const std::vector<double>& u, std::int64_t begin,
                  std::int64_t count, double h) {
  const StepTargets targets = loss_targets(step, NormaliseBy::global_token_mean);
  double* p = model.parameters().values().data<double>() + begin;
  const std::vector<double> old(p, p + count);
  const auto loss_at = [&](double x) {
    for (std::int64_t i = 0; i < count; ++i)
      p[i] = old[static_cast<std::size_t>(i)] + x * u[static_cast<std::size_t>(begin + i)];
    return run_micro_batch(model, step.micro_batches[0], targets.micro_batches[0], targets.denominator, {}).loss;
  };
  const double d = (loss_at(-2 * h) - 8 * loss_at(-h) + 8 * loss_at(h) - loss_at(2 * h)) / (12 * h);
  std::copy(old.begin(), old.end(), p);
  return d;
}

struct Directional {
  double backward = 0, difference = 0, bound = 0;
  bool agrees() const { return std::abs(backward - difference) <= bound; }
};

// The difference at h and 2h: their error is c h⁴ and 16 c h⁴, so (D(2h) - D(h)) / 15 is the error of D(h).
// Rounding adds 18 losses' worth of error over 12 h; a loss is right to about 1e-14, a hundred roundings one after
// another.
Directional directional(Onevision& model, const GlobalStep& step, const Tensor& gradients, const std::vector<double>& u,
                        std::int64_t begin, std::int64_t count) {
  constexpr double h = 1e-3;
  Directional d;
  const double* g = gradients.data<double>();
  for (std::int64_t i = begin; i < begin + count; ++i) d.backward += g[i] * u[static_cast<std::size_t>(i)];
  d.difference = difference(model, step, u, begin, count, h);
  const double coarse = difference(model, step, u, begin, count, 2 * h);
  d.bound = 2 * std::abs(coarse - d.difference) / 15 + 18 * 1e-14 / (12 * h);
  return d;
}

// Random, of length 1 over every parameter by itself.
std::vector<double> direction(const Parameters& parameters) {
  std::vector<double> u(static_cast<std::size_t>(parameters.count()));
  for (const auto& e : parameters.entries()) {
    const Philox random(7, e.parameter.name);
    const double length = std::sqrt(static_cast<double>(e.shape.numel()));
    for (std::int64_t i = 0; i < e.shape.numel(); ++i)
      u[static_cast<std::size_t>(e.offset + i)] = random.normal(static_cast<std::uint64_t>(i)) / length;
  }
  return u;
}

TrainOptions plain_options(double lr) {
  TrainOptions o;
  o.steps = 1000;
  o.schedule = {.peak = lr, .min = lr, .warmup = 0, .decay = "constant", .first_step = 1};
  o.optimizer.eps = 1e-8;
  return o;
}

std::vector<float> values_of(const Onevision& model) { return model.parameters().values().to_vector<float>(); }

double largest(const Tensor& t) {
  double m = 0;
  for (const double x : t.to_vector<double>()) m = std::max(m, std::abs(x));
  return m;
}

double largest_difference(const Tensor& a, const Tensor& b) {
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  double m = 0;
  for (std::size_t i = 0; i < x.size(); ++i) m = std::max(m, std::abs(x[i] - y[i]));
  return m;
}

}  // namespace

TEST_CASE(
    "the whole model's gradient is the derivative of its loss, in a direction through all parameters and in one "
    "through each (M-49)") {
  const auto model = small_model(Dtype::f64);
  Parameters& parameters = model->parameters();
  parameters.train(trainable({"language_model", "adapter", "vision_model"}, true));
  const GlobalStep step = as_step({mixed_row(3)});
  const Tensor gradients = loss_and_gradients(*model, step, NormaliseBy::global_token_mean).gradients;
  const std::vector<double> u = direction(parameters);

  const Directional all = directional(*model, step, gradients, u, 0, parameters.count());
  MESSAGE("all parameters: backward ", all.backward, ", difference ", all.difference, ", apart ",
          std::abs(all.backward - all.difference), ", bound ", all.bound);
  CHECK(all.agrees());
  CHECK(all.bound <= 1e-8 * std::abs(all.backward));
  for (const auto& e : parameters.entries()) {
    const Directional d = directional(*model, step, gradients, u, e.offset, e.shape.numel());
    CHECK_MESSAGE(d.agrees(), e.parameter.name, ": backward ", d.backward, ", difference ", d.difference);
    CHECK_MESSAGE(d.bound <= 1e-8, e.parameter.name);
    if (e.parameter.name.find("k_proj.bias") == std::string::npos)
      CHECK_MESSAGE(std::abs(d.backward) > 100 * d.bound, e.parameter.name, ": too flat to check");
  }
}

TEST_CASE("twin: the gradient of another model, of another row, or with one part of it 1e-6 too large does not pass") {
  const GlobalStep step = as_step({mixed_row(3)});
  const auto model = small_model(Dtype::f64);
  ModelConfig wrong_config = small_config();
  wrong_config.hf_shift_bug = true;
  Onevision wrong(wrong_config);
  wrong.parameters().allocate(Dtype::f64, cpu());
  wrong.parameters().values().copy_from(model->parameters().values());
  GlobalStep unshared = step;
  unshared.micro_batches[0].segments[2].prefix = -1;
  for (Onevision* m : {model.get(), &wrong})
    m->parameters().train(trainable({"language_model", "adapter", "vision_model"}, true));
  const std::vector<double> u = direction(model->parameters());
  const std::int64_t n = model->parameters().count();
  const Tensor right = loss_and_gradients(*model, step, NormaliseBy::global_token_mean).gradients;
  const Tensor shifted = loss_and_gradients(wrong, step, NormaliseBy::global_token_mean).gradients;
  const Tensor of_other_row = loss_and_gradients(*model, unshared, NormaliseBy::global_token_mean).gradients;
  const Tensor scaled = right.contiguous_copy();
  for (std::int64_t i = 0; i < n; ++i) scaled.data<double>()[i] *= 1 + 1e-6;
  CHECK(directional(*model, step, right, u, 0, n).agrees());
  CHECK_FALSE(directional(*model, step, shifted, u, 0, n).agrees());
  CHECK_FALSE(directional(*model, step, of_other_row, u, 0, n).agrees());
  CHECK_FALSE(directional(*model, step, scaled, u, 0, n).agrees());
}

TEST_CASE(
    "the first loss at the standard initialisation is within 0.1 of ln V, with a tied head and with one of its own") {
  for (const bool tied : {true, false})
    for (const double std : {0.02, 1.0}) {
      ModelConfig config = small_config();
      config.text.vocabulary = 512;
      config.text.tied = tied;
      Onevision model(config);
      model.parameters().allocate(Dtype::f32, cpu());
      initialize(model.parameters(), {.matrix_std = std, .embedding_std = std}, 5);
      model.parameters().train([](const Parameter&) { return true; });
      const double loss = loss_and_gradients(model, as_step({mixed_row(1)}), NormaliseBy::global_token_mean).loss;
      CAPTURE(loss);
      if (std == 0.02) CHECK(std::abs(loss - std::log(512.0)) <= 0.1);
      else CHECK(std::abs(loss - std::log(512.0)) > 0.1);  // the twin: a head that is sure of itself is wrong
    }
}

TEST_CASE("one batch is learned by heart: its loss falls below 0.01") {
  const auto model = small_model();
  FixedSteps data({as_step({mixed_row(1)})});
  Training trainer(*model, data, plain_options(3e-3));
  const double first = trainer.step().loss;
  CHECK(first > 3);
  StepReport last;
  while (trainer.steps_done() < 300 && (last = trainer.step()).loss >= 0.01) {}
  MESSAGE("from ", first, " to ", last.loss, " in ", last.step, " steps");
  CHECK(last.loss < 0.01);
}

TEST_CASE(
    "a freeze set trains what it names: frozen parameters have no gradient and keep their bits, the others move (M-46, "
    "R-38)") {
  struct Case {
    std::vector<std::string> modules;
    bool class_params;
  };
  for (const Case& c : {Case{{"adapter"}, true}, Case{{"language_model"}, true}, Case{{"vision_model"}, true},
                        Case{{"vision_model"}, false}, Case{{"language_model", "adapter", "vision_model"}, false}}) {
    const auto model = small_model();
    FixedSteps data({as_step({mixed_row(1)})});
    TrainOptions options = plain_options(1e-3);
    options.modules = c.modules;
    options.train_class_params = c.class_params;
    options.optimizer.weight_decay = 0.1;
    const std::vector<float> before = values_of(*model);
    Training trainer(*model, data, options);
    for (int i = 0; i < 2; ++i) trainer.step();
    const std::vector<float> after = values_of(*model);
    const auto trains = [&](const std::string& name) {
      const auto has = [&](const char* m) {
        return std::find(c.modules.begin(), c.modules.end(), m) != c.modules.end();
      };
      if (name.find("visual.merger") != name.npos) return has("adapter");
      if (name.find("class_") != name.npos) return has("vision_model") && c.class_params;
      return has(name.find("visual") != name.npos ? "vision_model" : "language_model");
    };
    std::int64_t trained = 0;
    for (const auto& e : model->parameters().entries()) {
      const std::string& name = e.parameter.name;
      CAPTURE(name);
      const auto moved =
          !std::equal(before.begin() + e.offset, before.begin() + e.offset + e.shape.numel(), after.begin() + e.offset);
      CHECK(moved == trains(name));
      CHECK((e.parameter.gradient >= 0) == trains(name));
      trained += trains(name) ? e.shape.numel() : 0;
    }
    CHECK(model->parameters().trained() == trained);
  }
}

TEST_CASE(
    "stage 1: the adapter's gradient comes through a frozen decoder with the same bits, and no product of a frozen "
    "weight's gradient is computed") {
  const GlobalStep step = as_step({mixed_row(1)});
  const StepTargets targets = loss_targets(step, NormaliseBy::global_token_mean);
  const auto model = small_model();
  Parameters& parameters = model->parameters();
  Tensor gradients;
  const auto run = [&](const std::vector<std::string>& modules) {
    parameters.train(trainable(modules, true));
    (gradients = parameters.gradient_buffer()).zero();
    return run_micro_batch(*model, step.micro_batches[0], targets.micro_batches[0], targets.denominator, gradients);
  };
  const auto adapter_gradients = [&] {
    std::vector<Tensor> out;
    for (const auto& e : parameters.entries())
      if (e.parameter.name.find("visual.merger") != std::string::npos)
        out.push_back(gradient_of(e.parameter, gradients).contiguous_copy());
    return out;
  };
  run({"language_model", "adapter", "vision_model"});
  const auto expected = adapter_gradients();
  const MicroBatchResult stage1 = run({"adapter"});
  const auto got = adapter_gradients();
  CHECK(expected.size() == 6);
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(same_bits(got[i], expected[i]));

  // Multiply-adds: a trained product has forward, dx and dw (the adapter's first one too: its norm is trained), a
  // frozen one forward and, if something before it is trained, dx. T tokens, P patches, N = P + class tokens, M = P /
  // 4.
  const ModelConfig& c = model->config();
  const MicroBatch& b = step.micro_batches[0];
  const OnevisionInputs in = model_inputs(b, Dtype::f32, cpu());
  const VisionLayout layout({{1, 2, 4}, {1, 4, 4}}, 2, false, cpu());
  const std::int64_t T = b.tokens(), P = 24, N = P + 2, M = P / 4, C = c.vision.hidden, H = c.text.hidden;
  const std::int64_t labelled = static_cast<std::int64_t>(targets.micro_batches[0].rows.size());
  const std::int64_t q = c.text.heads * c.text.head_dim, kv = c.text.kv_heads * c.text.head_dim;
  const std::int64_t tower =
      P * 588 * C + c.vision.depth * (N * C * (4 * C + 2 * c.vision.intermediate) + 2 * C * layout.segments->pairs);
  const std::int64_t fc1 = M * 4 * C * 4 * C, fc2 = M * 4 * C * H;
  const std::int64_t decoder_products =
      c.text.layers * T * H * (q + 2 * kv + q + 3 * c.text.intermediate) + labelled * H * c.text.vocabulary;
  const std::int64_t attention = c.text.layers * 2 * q * in.segments->pairs;
  CHECK(stage1.products.forward + stage1.products.backward ==
        tower + 3 * fc1 + 3 * fc2 + 2 * decoder_products + 3 * attention);
}

TEST_CASE(
    "packed and unpacked samples give the same gradient under global_token_mean and sample_mean, another one under "
    "micro_batch_mean (R-06)") {
  std::vector<MicroBatch> rows(4);
  add_sample(rows[0], 1, 2, 4, 9);
  add_sample(rows[1], 2, 4, 4, 31);
  add_sample(rows[2], 3, 0, 0, 17);
  add_sample(rows[3], 4, 2, 2, 8);
  add_branch(rows[3], 5, 0, 5);
  add_branch(rows[3], 6, 0, 12);
  const GlobalStep unpacked = as_step(rows), packed = as_step({joined(rows)}),
                   halves = as_step({joined({rows[0], rows[1]}), joined({rows[2], rows[3]})});
  const auto model = small_model(Dtype::f64);
  model->parameters().train([](const Parameter&) { return true; });
  for (const NormaliseBy by :
       {NormaliseBy::global_token_mean, NormaliseBy::sample_mean, NormaliseBy::micro_batch_mean}) {
    const LossAndGradients a = loss_and_gradients(*model, unpacked, by);
    for (const GlobalStep* other : {&packed, &halves}) {
      const LossAndGradients b = loss_and_gradients(*model, *other, by);
      double worst = 0;
      for (const auto& e : model->parameters().entries()) {
        const Tensor x = gradient_of(e.parameter, a.gradients), y = gradient_of(e.parameter, b.gradients);
        worst = std::max(worst, largest_difference(x, y) / largest(x));
      }
      CAPTURE(name_of(by));
      CAPTURE(worst);
      // The terms of every sum are the same bits; only the order in which at most T = 120 of them are added differs,
      // each time by at most 2^-53 of a partial sum, which is at most a hundred times the largest result.
      constexpr double bound = 120 * 0x1p-53 * 100;
      if (by == NormaliseBy::micro_batch_mean) {
        CHECK(worst > 1e-2);
      } else {
        CHECK(worst <= bound);
        CHECK(std::abs(a.loss - b.loss) <= 120 * 0x1p-53 * a.loss);
      }
    }
  }
}

TEST_CASE(
    "a sub-sample sees nothing of its neighbours: whatever they hold, its logits and losses keep their bits (R-09)") {
  const auto model = small_model();
  const MicroBatch row = mixed_row(1);
  const Tensor clean = logits_of(*model, row);
  const auto rows_of = [&](const Tensor& logits, std::size_t segment) {
    const TokenSegment& s = row.segments[segment];
    return logits.slice(0, s.begin, s.begin + s.length);
  };
  // What of the row is changed, and which segments may notice.
  struct Change {
    const char* what;
    std::vector<std::size_t> segments;
    std::int64_t patch_begin, patch_end;
    std::vector<bool> notices;
  };
  const std::vector<Change> changes = {
      {"the first picture and its prefix, hence its branches", {0}, 0, 8, {true, true, true, false, false}},
      {"one branch", {1}, 0, 0, {false, true, false, false, false}},
      {"the other branch", {2}, 0, 0, {false, false, true, false, false}},
      {"the second picture alone", {}, 8, 24, {false, false, false, true, false}},
      {"the last segment", {4}, 0, 0, {false, false, false, false, true}}};
  for (const bool not_a_number : {false, true})
    for (const Change& c : changes) {
      CAPTURE(c.what);
      MicroBatch other = row;
      other.pixel_values = row.pixel_values.contiguous_copy();
      for (const std::size_t s : c.segments)
        for (std::int64_t t = row.segments[s].begin; t < row.segments[s].begin + row.segments[s].length; ++t) {
          std::int64_t& id = other.input_ids[static_cast<std::size_t>(t)];
          if (id != 96) id = (id + 13) % 96;
        }
      for (std::int64_t i = c.patch_begin * 588; i < c.patch_end * 588; ++i)
        other.pixel_values.data<float>()[i] = not_a_number ? NAN : -other.pixel_values.data<float>()[i] + 0.5F;
      const Tensor changed = logits_of(*model, other);
      for (std::size_t s = 0; s < row.segments.size(); ++s) {
        CAPTURE(s);
        CHECK(same_bits(rows_of(clean, s), rows_of(changed, s)) == !c.notices[s]);
      }
    }
  // Segments whose order is changed, and a mask left out: the twin of the above.
  MicroBatch leaking = row;
  leaking.segments = {{0, row.tokens(), -1}};
  leaking.sample_of_segment = {0};
  CHECK_FALSE(same_bits(rows_of(clean, 3), rows_of(logits_of(*model, leaking), 3)));
}

TEST_CASE("no labelled token gives no loss and no gradient, never NaN (R-05)") {
  MicroBatch silent;
  add_sample(silent, 1, 2, 4, 10);
  silent.labels.assign(silent.labels.size(), ignored_label);
  MicroBatch loud;
  add_sample(loud, 2, 4, 2, 10);
  for (const NormaliseBy by :
       {NormaliseBy::global_token_mean, NormaliseBy::sample_mean, NormaliseBy::micro_batch_mean}) {
    CAPTURE(name_of(by));
    const auto model = small_model();
    FixedSteps data({as_step({silent, silent})});
    TrainOptions options = plain_options(1e-2);
    options.normalise_by = by;
    const std::vector<float> before = values_of(*model);
    Training trainer(*model, data, options);
    const StepReport report = trainer.step();
    CHECK(report.loss == 0);
    CHECK(report.parts.at("token_loss").as_double() == 0);
    CHECK(report.labelled == 0);
    CHECK(report.gradient_norm == 0);
    CHECK(values_of(*model) == before);

    const auto alone = loss_and_gradients(*model, as_step({loud}), by);
    const auto with_silent = loss_and_gradients(*model, as_step({silent, loud}), by);
    CHECK(alone.loss > 0);
    if (by == NormaliseBy::micro_batch_mean) {  // the silent one counts among the micro-batches
      CHECK(std::abs(with_silent.loss - alone.loss / 2) <= 1e-6 * alone.loss);
    } else {
      CHECK(with_silent.loss == alone.loss);
      CHECK(same_bits(with_silent.gradients, alone.gradients));
    }
  }
}

TEST_CASE("a label on the first token of a segment, or one that is not the token's own id, is refused by name (T-08)") {
  const auto model = small_model();
  const auto refusal = [&](const std::function<void(MicroBatch&)>& spoil) {
    MicroBatch row = mixed_row(1);
    spoil(row);
    FixedSteps data({as_step({mixed_row(2), row})});
    Training trainer(*model, data, plain_options(1e-3));
    return thrown([&] { trainer.step(); });
  };
  const MicroBatch row = mixed_row(1);
  const auto first_of = [&](std::size_t segment) { return static_cast<std::size_t>(row.segments[segment].begin); };
  CHECK(refusal([](MicroBatch&) {}).empty());
  CHECK(refusal([&](MicroBatch& b) {
          b.labels[first_of(3)] = b.input_ids[first_of(3)];
        }).starts_with("micro-batch 1: segment 3: its first token"));
  CHECK(refusal([&](MicroBatch& b) {
          b.labels[first_of(1)] = b.input_ids[first_of(1)];
        }).starts_with("micro-batch 1: segment 1: its first token"));
  CHECK(refusal([&](MicroBatch& b) { b.labels[first_of(2)] = b.labels[first_of(2) + 1]; }) != "");
  CHECK(refusal([&](MicroBatch& b) { b.labels[first_of(2) + 3] += 1; }).starts_with("micro-batch 1: token"));
}
