// A model small enough to be checked by hand, with the numbers that an independent script and the original code agree
// on.
#include <doctest/doctest.h>

#include "base/hash.h"
#include "model/onevision.h"
#include "store/hf_names.h"

using namespace ov;

namespace {

// value_i = f32(base + (u_i - ½) amplitude), u from a 64-bit linear congruential generator seeded by the tensor's
// name.
void fill(const Tensor& t, const std::string& name, double amplitude, double base) {
  std::uint64_t state = fnv1a(name);
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double u = static_cast<double>(state >> 40) / 16777216.0;
    t.data<double>()[i] = static_cast<float>(base + (u - 0.5) * amplitude);
  }
}

struct Tiny {
  explicit Tiny(const std::string& variant) {
    ModelConfig c;
    c.vision = {.depth = 2, .hidden = 16, .heads = 2, .intermediate = 32, .patch = 2};
    c.text = {.vocabulary = 64,
              .hidden = 24,
              .intermediate = 48,
              .layers = 2,
              .heads = 4,
              .kv_heads = 2,
              .head_dim = 8,
              .rope_theta = 1e6};
    c.image_token = 61;
    c.hf_shift_bug = variant == "hf_shift_bug";
    c.use_reference(variant == "megatron" ? "megatron" : "hf");
    model = std::make_unique<Onevision>(c);
    model->parameters().allocate(Dtype::f64, cpu());
    for (const auto& e : model->parameters().entries()) {
      double amplitude = 0.5, base = 0;
      if (e.parameter.role == Role::norm_weight) amplitude = 0.25, base = 1;
      if (e.parameter.role == Role::bias || e.parameter.role == Role::norm_bias) amplitude = 0.25;
      if (e.parameter.role == Role::class_vector || e.parameter.role == Role::embedding) amplitude = 1;
      if (e.parameter.role == Role::class_angles) amplitude = 4;
      fill(e.parameter.value, name_on_disk(e.parameter.name), amplitude, base);
    }
    pixels = Tensor({24, 12}, Dtype::f64, cpu());
    fill(pixels, "pixel_values", 4, 0);
    const OnevisionInputs inputs = single_segment(ids, pixels, {{1, 4, 4}, {1, 2, 4}}, cpu());
    merged = model->encode_images(nullptr, inputs).value;
    logits = model->logits(model->hidden(nullptr, inputs, Var{merged})).value;
    Tensor targets({15}, Dtype::i64, cpu()), weights = Tensor::zeros({15}, Dtype::f64, cpu());
    for (std::int64_t t = 0; t < 15; ++t)
      targets.data<std::int64_t>()[t] = t + 1 < 15 ? ids[static_cast<std::size_t>(t + 1)] : -100;
    weights.data<double>()[12] = weights.data<double>()[13] = 1;
    loss = cross_entropy(Var{logits}, targets, weights, 2);
  }
  std::vector<std::int64_t> ids = {1, 2, 60, 61, 61, 61, 61, 62, 3, 60, 61, 61, 62, 4, 5};
  std::unique_ptr<Onevision> model;
  Tensor pixels, merged, logits;
  CrossEntropy loss;
};

// The largest difference from numbers printed with seven decimals.
double off(const double* got, std::initializer_list<double> expected) {
  double worst = 0;
  for (double e : expected) worst = std::max(worst, std::abs(*got++ - e));
  return worst;
}

constexpr double printed = 0.6e-7;  // half a unit of the last digit, and the double rounding of printing

}  // namespace

TEST_CASE("tiny model: the generator gives the documented values") {
  const Tensor t({3}, Dtype::f64, cpu());
  fill(t, "pixel_values", 4, 0);
  CHECK(fnv1a("pixel_values") == 5341937363109160142u);
  CHECK(off(t.data<double>(), {-0.831761122, 0.664349318, -1.54624367}) < 5e-9);
}

TEST_CASE("tiny model: features, logits and loss of the correct variant") {
  const Tiny m("hf");
  CHECK(off(m.merged.row<double>(0), {-0.0652341, 0.4197751, -0.1651628, -1.3348478}) < printed);
  CHECK(off(m.merged.row<double>(4), {-0.6474932, -0.0305243, 0.234655, -0.5260343}) < printed);
  CHECK(off(m.merged.row<double>(5), {0.6584076, 1.7203299, 0.3286899, 0.0278738}) < printed);
  const double* last = m.logits.row<double>(14);
  CHECK(off(last, {-0.2626418, 1.213532, -0.5847453, 0.1520938, 0.495556, -0.0388798}) < printed);
  double total = 0;
  for (int v = 0; v < 64; ++v) total += last[v];
  CHECK(std::abs(total + 5.962728) < 0.6e-6);
  CHECK(std::max_element(last, last + 64) - last == 10);
  CHECK(off(m.loss.loss.value.data<double>(), {4.5581597}) < printed);
  CHECK(off(m.loss.token_loss.data<double>() + 12, {4.3868885, 4.7294309}) < printed);
  const double sums[] = {-1.5265448, -1.3944108, -5.6118466, 7.6490208, -1.4688682, 6.5465392};
  for (int r = 0; r < 6; ++r) {
    double s = 0;
    for (int c = 0; c < 24; ++c) s += m.merged.row<double>(r)[c];
    CHECK(std::abs(s - sums[r]) < 2e-7);
  }
}

TEST_CASE("tiny model: the released code's shift of later images is reproduced by its switch (M-01)") {
  const Tiny m("hf_shift_bug");
  CHECK(off(m.merged.row<double>(0), {-0.0652341, 0.4197751, -0.1651628, -1.3348478}) < printed);
  CHECK(off(m.merged.row<double>(4), {-1.1413274, 2.2384592, 1.4657743, -1.0699832}) < printed);
  CHECK(off(m.merged.row<double>(5), {0.0841703, 0.4321413, -0.2495388, -0.62892}) < printed);
  CHECK(off(m.logits.row<double>(14), {-0.2811133, 0.9485502, -0.2390883, -0.2037438, 0.2744216, -0.0722173}) <
        printed);
  CHECK(off(m.loss.loss.value.data<double>(), {4.4238094}) < printed);
}

TEST_CASE("tiny model: Megatron's constants are reproduced by their switch") {
  const Tiny m("megatron");
  CHECK(off(m.merged.row<double>(0), {-0.065289, 0.41978, -0.1651624, -1.3347369}) < printed);
  CHECK(off(m.merged.row<double>(4), {-0.6475644, -0.0304742, 0.2347063, -0.5260289}) < printed);
  CHECK(off(m.merged.row<double>(5), {0.6584318, 1.7204577, 0.3287577, 0.0278191}) < printed);
  CHECK(off(m.logits.row<double>(14), {-0.2626435, 1.2135064, -0.5847719, 0.1520991, 0.4955764, -0.0388743}) < printed);
  CHECK(off(m.loss.loss.value.data<double>(), {4.5581171}) < printed);
}
