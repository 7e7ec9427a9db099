// Tests 4 to 7 of RICE pre-training: loss gradients, drawn classes, and what the first step must cost.
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <set>
#include <utility>

#include "base/sum.h"
#include "kernels/cluster_loss.h"
#include "tests/autograd/gradient_check.h"
#include "tests/model/rice_losses.h"

using namespace ov;
using kernels::Margin;

namespace {

// Directions of independent normal numbers, hence uniform on the sphere.
Tensor random_rows(std::int64_t n, std::int64_t width, const std::string& purpose, std::uint64_t seed = 1) {
  const Philox random(seed, purpose);
  const Tensor t({n, width}, Dtype::f64, cpu());
  for (std::int64_t i = 0; i < t.numel(); ++i)
    t.data<double>()[i] = static_cast<double>(random.normal(static_cast<std::uint64_t>(i)));
  return t;
}

// Row b of `x` is turned until its angle to row k of `to` is `angle` (a fraction of what it was when small).
void put_near(const Tensor& x, std::int64_t b, const Tensor& to, std::int64_t k, double sign, double angle) {
  const std::int64_t D = x.dim(1);
  double *r = x.row<double>(b), *w = to.row<double>(k), rw = 0, ww = 0, oo = 0;
  for (std::int64_t d = 0; d < D; ++d) rw += r[d] * w[d], ww += w[d] * w[d];
  for (std::int64_t d = 0; d < D; ++d) r[d] -= rw / ww * w[d], oo += r[d] * r[d];
  for (std::int64_t d = 0; d < D; ++d)
    r[d] = sign * std::cos(angle) * w[d] / std::sqrt(ww) + std::sin(angle) * r[d] / std::sqrt(oo);
}

// Regions 0 and 1 lie almost along and against a centre that is positive, regions 2 and 3 likewise for a negative;
// region 4 has no positive at all, region 5 one label three times and another once.
const Tensor hard_roles = Tensor::of<std::uint8_t>({2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 0, 1, 1, 1, 2, 1, 1, 1,  //
                                                    1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 4, 1, 1, 2, 1, 1},
                                                   {6, 6});

std::vector<Var> hard_case(Example& e, Margin margin, double scale, bool softmax, double angle, bool fresh) {
  const Var region = e.input({6, 5}), centre = e.parameter({6, 5});
  if (fresh) {
    put_near(region.value, 0, centre.value, 0, 1, angle);
    put_near(region.value, 1, centre.value, 1, -1, angle);
    put_near(region.value, 2, centre.value, 5, 1, angle);
    put_near(region.value, 3, centre.value, 5, -1, angle);
  }
  std::vector<std::uint8_t> single(36, 1);  // softmax: one positive a row
  for (std::size_t b = 0; b < 6; ++b) single[7 * b] = 2;
  return {rice_test::loss_of({.region = region,
                              .centre = centre,
                              .roles = softmax ? Tensor::of(single, {6, 6}) : hard_roles,
                              .classes = {},
                              .margin = {.margin = margin, .scale = scale, .m = 0.3},
                              .softmax = softmax})};
}

double worst_gradient(Margin margin, double scale, bool softmax, double angle) {
  bool fresh = true;  // the first run makes the leaves; the later ones must not undo the steps of the check
  return test::check_gradient(
             [&](Example& e) { return hard_case(e, margin, scale, softmax, angle, std::exchange(fresh, false)); })
      .worst;
}

}  // namespace

TEST_CASE(
    "rice test 4: loss gradients against differences at cosines near 1 and -1, without positives, with repeated "
    "labels") {
  for (const bool softmax : {false, true}) {
    CAPTURE(softmax);
    CHECK(worst_gradient(Margin::cosface, 4, softmax, 0.001) <= 1e-7);
    // The angle itself has a kink at 0: differences need some distance from it.
    CHECK(worst_gradient(Margin::arcface, 2, softmax, 0.2) <= 1e-6);
    CHECK(worst_gradient(Margin::arcface_straight_through, 2, softmax, 0.2) > 1e-2);  // no derivative
  }
}

TEST_CASE("rice test 4: at a cosine of exactly 1 or -1 every gradient is finite") {
  for (const Margin margin : {Margin::cosface, Margin::arcface, Margin::arcface_straight_through})
    for (const double sign : {1.0, -1.0}) {
      Parameter region{.name = "r", .value = random_rows(3, 5, "pole")};
      Parameter centre{.name = "w", .value = random_rows(6, 5, "pole centres")};
      for (std::int64_t d = 0; d < 5; ++d) region.value.row<double>(0)[d] = sign * 2 * centre.value.row<double>(2)[d];
      region.gradient = 0, centre.gradient = region.value.numel();
      const Tensor gradients = Tensor::zeros({region.value.numel() + centre.value.numel()}, Dtype::f64, cpu());
      const Tensor roles = Tensor::of<std::uint8_t>({1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1}, {3, 6});
      Tape tape(gradients);
      const Var loss = rice_test::loss_of({.region = tape.parameter(region),
                                           .centre = tape.parameter(centre),
                                           .roles = roles,
                                           .classes = {},
                                           .margin = {.margin = margin, .scale = 64, .m = 0.3}});
      tape.backward(loss, Tensor::of<double>({1}, {1}));
      CHECK(std::isfinite(loss.value.data<double>()[0]));
      for (const double g : gradients.to_vector<double>()) CHECK(std::isfinite(g));
      // Turning a region that already lies in the centre's direction does not change the cosine to first order: of its
      // gradient only what comes from the negatives is left, which is small beside the scale.
      CHECK(std::abs(gradients.data<double>()[0]) < 64);
    }
}

TEST_CASE("rice test 4: padding and repetition count as the formula says") {
  const Tensor region = random_rows(1, 8, "r"), centre = random_rows(5, 8, "w");
  const auto loss = [&](const std::vector<std::uint8_t>& roles) {
    return rice_test::loss_of({.region = Var{region},
                               .centre = Var{centre},
                               .roles = Tensor::of(roles, {1, 5}),
                               .classes = {},
                               .margin = {.margin = Margin::cosface, .scale = 3, .m = 0.3}})
        .value.data<double>()[0];
  };
  double cos[5];
  for (int k = 0; k < 5; ++k)
    cos[k] = dot<double>(8, region.row<double>(0), centre.row<double>(k)) /
             std::sqrt(dot<double>(8, region.row<double>(0), region.row<double>(0)) *
                       dot<double>(8, centre.row<double>(k), centre.row<double>(k)));
  const auto up = [&](int k) { return std::exp(-3 * (cos[k] - 0.3)); };
  const auto down = [&](int k) { return std::exp(3 * cos[k]); };
  const double negatives = std::log1p(down(2) + down(3));
  CHECK(loss({0, 0, 1, 1, 0}) == doctest::Approx(negatives).epsilon(1e-14));
  CHECK(loss({2, 0, 1, 1, 0}) == doctest::Approx(negatives + std::log1p(up(0))).epsilon(1e-14));
  CHECK(loss({3, 2, 1, 1, 0}) == doctest::Approx(negatives + std::log1p(2 * up(0) + up(1))).epsilon(1e-14));
  CHECK(std::abs(loss({3, 2, 1, 1, 0}) - loss({2, 2, 1, 1, 0})) > 1e-3);
}

namespace {

std::vector<Region> object_regions(const std::vector<std::int64_t>& labels) {
  std::vector<Region> regions;
  for (const std::int64_t label : labels) regions.push_back({0, 0, {0, 0, 1, 1}, {label, {}}});
  return regions;
}

// The loss of one batch that is the whole step.
double discriminated(const Tensor& region, const Tensor& centre, const std::vector<LabelledRow>& rows,
                     const ClassDraws& draws, const ClusterOptions& options) {
  const auto n = static_cast<std::int64_t>(draws.draws().size());
  const Tensor scalars = Tensor::zeros({n + 1}, Dtype::f64, cpu());
  cluster_discrimination(l2_normalize(Var{region}), Var{centre}, rows, draws, options, region.dim(0), scalars);
  return std::accumulate(scalars.data<double>(), scalars.data<double>() + n, 0.0);
}

double sampled_loss(const Tensor& region, const Tensor& centre, const std::vector<std::int64_t>& labels, double density,
                    bool softmax) {
  const auto rows = labelled_rows(object_regions(labels), false, softmax);
  const ClassDraws draws(centre.dim(0), density, true, rows, 7, "test", 0);
  const ClusterOptions options{.softmax = softmax, .margin = {}, .density = density};
  return discriminated(region, centre, rows, draws, options);
}

// The formulas as they stand in the paper, over the whole table.
double dense_loss(const Tensor& region, const Tensor& centre, const std::vector<std::int64_t>& labels, bool softmax) {
  double total = 0;
  for (std::size_t b = 0; b < labels.size(); ++b) {
    const double* r = region.row<double>(static_cast<std::int64_t>(b));
    double sum = 0, own = 0;
    for (std::int64_t k = 0; k < centre.dim(0); ++k) {
      const double* w = centre.row<double>(k);
      const std::int64_t D = centre.dim(1);
      const double cos = dot<double>(D, r, w) / std::sqrt(dot<double>(D, r, r) * dot<double>(D, w, w));
      if (k == labels[b]) own = 64 * (cos - 0.3);
      else sum += std::exp(64 * cos);
    }
    total += softmax ? std::log(sum + std::exp(own)) - own : std::log1p(std::exp(-own)) + std::log1p(sum);
  }
  return total / static_cast<double>(labels.size());
}

}  // namespace

TEST_CASE("rice test 5, G = 1: with every class drawn the loss is the dense one; labels at the borders of the table") {
  const Tensor region = random_rows(6, 16, "regions"), centre = random_rows(40, 16, "centres");
  const std::vector<std::int64_t> labels = {0, 39, 19, 20, 0, 7};
  for (const bool softmax : {false, true}) {
    const double dense = dense_loss(region, centre, labels, softmax);
    CHECK(std::abs(sampled_loss(region, centre, labels, 1, softmax) - dense) <= 1e-12 * dense);
    CHECK(std::abs(sampled_loss(region, centre, labels, 0.5, softmax) - dense) > 1e-3 * dense);
  }
}

TEST_CASE("rice test 5: more positives than the draw holds are taken alone, and fewer are filled up") {
  const Philox random(3, "draw");
  const std::vector<std::int64_t> many = {1, 5, 6, 7, 11, 13};
  CHECK(sample_classes(50, 0.1, many, random) == many);
  CHECK(sample_classes(60, 0.1, many, random) == many);
  const auto filled = sample_classes(70, 0.1, many, random);
  CHECK(filled.size() == 7);
  CHECK(std::includes(filled.begin(), filled.end(), many.begin(), many.end()));
  CHECK(std::is_sorted(filled.begin(), filled.end()));
  CHECK(sample_classes(70, 0.5, {}, random) == sample_classes(70, 0.5, {}, random));
  CHECK(sample_classes(70, 0.5, {}, random) != sample_classes(70, 0.5, {}, Philox(3, "draw", 1)));
  std::vector<std::int64_t> all(70);
  std::iota(all.begin(), all.end(), 0);
  CHECK(sample_classes(70, 1, {3}, random) == all);
}

TEST_CASE("rice test 6: distinct positives of a draw, and the random fill is uniform") {
  constexpr std::int64_t K = 512, b = 64, steps = 400;
  const std::int64_t wanted = K / 4;
  double distinct = 0;
  std::vector<double> filled(K, 0), candidate(K, 0);
  for (std::int64_t step = 0; step < steps; ++step) {
    const Philox labels(11, "labels", static_cast<std::uint64_t>(step));
    std::vector<std::int64_t> own;
    for (std::int64_t i = 0; i < b; ++i)
      own.push_back(static_cast<std::int64_t>(labels.below(static_cast<std::uint64_t>(i), K)));
    const auto rows = labelled_rows(object_regions(own), false, false);
    const ClassDraws draws(K, 0.25, true, rows, 11, "class sampling", static_cast<std::uint64_t>(step));
    REQUIRE(draws.draws().size() == 1);
    const std::set<std::int64_t> positives(own.begin(), own.end());
    distinct += static_cast<double>(positives.size());
    const auto& classes = draws.draws()[0].classes;
    REQUIRE(static_cast<std::int64_t>(classes.size()) == wanted);
    // Given how many are filled, each class that is no positive is drawn with the same chance.
    const double chance = static_cast<double>(wanted - static_cast<std::int64_t>(positives.size())) /
                          static_cast<double>(K - static_cast<std::int64_t>(positives.size()));
    for (std::int64_t k = 0; k < K; ++k)
      if (!positives.count(k)) candidate[static_cast<std::size_t>(k)] += chance;
    for (const std::int64_t k : classes)
      if (!positives.count(k)) filled[static_cast<std::size_t>(k)] += 1;
  }
  // b labels out of K: K (1 - (1 - 1/K)^b) different ones, ± 4 standard errors of the mean.
  const double expected = K * (1 - std::pow(1 - 1.0 / K, static_cast<double>(b)));
  CHECK(std::abs(distinct / steps - expected) < 4 * 2.0 / std::sqrt(static_cast<double>(steps)));
  CHECK(expected == doctest::Approx(K * (1 - std::exp(-static_cast<double>(b) / K))).epsilon(0.002));
  const auto chi_squared = [&] {
    double x = 0;
    for (std::size_t k = 0; k < K; ++k) x += (filled[k] - candidate[k]) * (filled[k] - candidate[k]) / candidate[k];
    return x;
  };
  // 511 degrees of freedom, variance reduced by (1 - chance) since a draw takes each class once: mean 412, σ 26.
  CHECK(chi_squared() < 530);
  CHECK(chi_squared() > 300);
  for (std::size_t k = 0; k < K; ++k) filled[k] *= k < K / 2 ? 1.15 : 0.85;  // the twin: one half preferred
  CHECK(chi_squared() > 530);
}

TEST_CASE("rice test 6: an OCR draw is not filled with other strings' labels, and per-slot draws keep ρ's meaning") {
  std::vector<Region> strings;
  for (std::int64_t i = 0; i < 30; ++i) strings.push_back({i, 0, {0, 0, 1, 1}, {-1, {i, (i + 1) % 40, i}}});
  const auto rows = labelled_rows(strings, true, false);
  const ClassDraws draws(40, 0.25, false, rows, 5, "character sampling", 0);
  const auto& draw = draws.draws().at(0);
  CHECK(draw.classes.size() > 10);  // 31 different labels stand in the 40 columns' union
  CHECK(std::count(draw.negative.begin(), draw.negative.end(), true) == 10);
  const Tensor roles = roles_of({&rows[3]}, draw);
  std::int64_t negatives = 0, positives = 0;
  for (std::int64_t s = 0; s < roles.dim(1); ++s) {
    const auto role = roles.data<std::uint8_t>()[s];
    negatives += role == kernels::role::negative;
    positives += role >= kernels::role::positive;
    if (draw.classes[static_cast<std::size_t>(s)] == 3) CHECK(role == 3);  // twice in the string
    if (draw.classes[static_cast<std::size_t>(s)] == 4) CHECK(role == 2);
  }
  CHECK(positives == 2);
  CHECK(negatives >= 8);
  CHECK(negatives <= 10);

  // 10 slots of 26 labels each: one draw for all would be positives only.
  std::vector<Region> regions;
  for (std::int64_t i = 0; i < 260; ++i) regions.push_back({i / 10, i % 10, {0, 0, 1, 1}, {(i * 37) % 1000, {}}});
  const ClassDraws slots(1000, 0.1, true, labelled_rows(regions, false, false), 5, "class sampling", 0);
  REQUIRE(slots.draws().size() == 10);
  for (const auto& d : slots.draws()) CHECK(d.classes.size() == 100);
  CHECK(slots.draws()[0].classes != slots.draws()[1].classes);
}

namespace {

// Positive and negative term of variant A for random directions: 256 labels, K = 8192, the paper's s, m and ρ.
std::pair<double, double> first_step(std::int64_t width, double m) {
  constexpr std::int64_t K = 8192, b = 256;
  const Tensor region = random_rows(b, width, "first regions"), centre = random_rows(K, width, "first centres");
  std::vector<Region> regions;
  const Philox random(2, "first labels");
  for (std::int64_t i = 0; i < b; ++i)
    regions.push_back(
        {i, 0, {0, 0, 1, 1}, {static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(i), K)), {}}});
  auto rows = labelled_rows(regions, false, false);
  const ClassDraws draws(K, 0.1, true, rows, 2, "class sampling", 0);
  CHECK(draws.draws().at(0).classes.size() == 819);
  const ClusterOptions options{
      .softmax = false, .margin = {.margin = Margin::cosface, .scale = 64, .m = m}, .density = 0.1};
  const double both = discriminated(region, centre, rows, draws, options);
  // Without positives only the negative term is left; the draw stays, and with it the own class must be left out.
  double negative = 0;
  for (std::int64_t i = 0; i < b; ++i) {
    double sum = 0;
    for (const std::int64_t k : draws.draws()[0].classes) {
      if (k == rows[static_cast<std::size_t>(i)].positives[0]) continue;
      const double *r = region.row<double>(i), *w = centre.row<double>(k);
      sum += std::exp(64 * dot<double>(width, r, w) / std::sqrt(dot<double>(width, r, r) * dot<double>(width, w, w)));
    }
    negative += std::log1p(sum) / b;
  }
  return {both - negative, negative};
}

}  // namespace

TEST_CASE(
    "rice test 7: the first step's positive term is s m, its negative term what random directions give, at K = 8192") {
  const auto [positive, negative] = first_step(128, 0.3);
  MESSAGE("first step at D_e 128: positive ", positive, ", negative ", negative);
  CHECK(std::abs(positive - 19.2) < 1.92);
  CHECK(std::abs(negative - 18.5) < 1.5);
  const auto [positive_256, negative_256] = first_step(256, 0.3);
  CHECK(std::abs(positive_256 - 19.2) < 1.92);
  CHECK(std::abs(negative_256 - 13.5) < 1.0);
  CHECK(std::abs(first_step(128, 0.2).first - 19.2) > 1.92);  // the twin: another margin
}

TEST_CASE("a label hits when fewer classes than the row has labels lie higher; of equal cosines the first is higher") {
  const Tensor cos = Tensor::of<double>({0.9, 0.5, 0.9, 0.95, 0.1, 0.2, 0.3, 0.4}, {2, 4});
  const Tensor roles = Tensor::of<std::uint8_t>({1, 2, 3, 0, 2, 0, 0, 2}, {2, 4});
  const Tensor hits = Tensor::of<double>({5}, {1});
  kernels::cluster_hits({.hits = hits, .cos = cos, .roles = roles, .k = Tensor::of<std::int64_t>({2, 1}, {2})});
  CHECK(hits.data<double>()[0] == 5 + 1 + 1);  // column 2 and column 3; class 3 plays no role to the first row
  kernels::cluster_hits({.hits = hits, .cos = cos, .roles = roles, .k = Tensor::of<std::int64_t>({3, 2}, {2})});
  CHECK(hits.data<double>()[0] == 7 + 2 + 2);
}
