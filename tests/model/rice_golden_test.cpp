// The losses of cluster discrimination against PyTorch's autograd on the paper's formulas and on the public code
// (tests/golden/README.md, rice/).
#include <doctest/doctest.h>

#include <cmath>

#include "base/json.h"
#include "store/safetensors.h"
#include "tests/model/rice_losses.h"

using namespace ov;
using kernels::Margin;

namespace {

const std::string golden = "tests/golden/rice";

struct Expected {
  std::string name;
  bool text, softmax;
  Margin margin;
};

const Expected cases[] = {{"A_object_cosface", false, false, Margin::cosface},
                          {"A_object_arcface", false, false, Margin::arcface},
                          {"A_ocr_cosface", true, false, Margin::cosface},
                          {"B_cosface", false, true, Margin::cosface},
                          {"B_arcface_straight_through", false, true, Margin::arcface_straight_through}};

struct Differences {
  double loss = 0, region = 0, centre = 0;  // relative; gradients to the tensor's largest element
  double worst() const { return std::max({loss, region, centre}); }
};

double relative(const Tensor& got, const Tensor& expected) {
  const auto a = got.to_vector<double>();
  const auto b = expected.to_vector<float>();
  REQUIRE(a.size() == b.size());
  double off = 0, largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    off = std::max(off, std::abs(a[i] - static_cast<double>(b[i])));
    largest = std::max(largest, std::abs(static_cast<double>(b[i])));
  }
  return off / largest;
}

// The roles that the file's index lists give: K columns for the decoupled losses, the 23 drawn classes for softmax.
Tensor golden_roles(const Safetensors& file, const Expected& e, const std::vector<std::int64_t>& classes) {
  const Tensor negatives = file.tensor(e.text ? "negative_ocr_BS" : "negative_object_BS");
  const Tensor positives = file.tensor(e.text ? "positive_BM" : "label_B");
  const std::int64_t B = negatives.dim(0), K = file.tensor("centre_KD").dim(0);
  const std::int64_t S = e.softmax ? static_cast<std::int64_t>(classes.size()) : K;
  const Tensor roles = Tensor::zeros({B, S}, Dtype::u8, cpu());
  for (std::int64_t b = 0; b < B; ++b) {
    std::uint8_t* r = roles.row<std::uint8_t>(b);
    if (e.softmax) std::fill_n(r, S, kernels::role::negative);
    else
      for (std::int64_t i = 0; i < negatives.dim(1); ++i)
        r[negatives.row<std::int64_t>(b)[i]] = kernels::role::negative;
    const std::int64_t labels = positives.rank() == 1 ? 1 : positives.dim(1);
    for (std::int64_t m = 0; m < labels; ++m) {
      const std::int64_t label = positives.data<std::int64_t>()[b * labels + m];
      if (label < 0) continue;
      const auto column =
          e.softmax ? std::find(classes.begin(), classes.end(), label) - classes.begin() : std::ptrdiff_t(label);
      r[column] = static_cast<std::uint8_t>(std::max<int>(r[column], 1) + 1);
    }
  }
  return roles;
}

Differences compare(const Expected& e, double m = 0.3, double scale = 64) {
  const Safetensors file = Safetensors::open(golden + "/case.safetensors");
  Parameter region{.name = "region", .value = file.tensor("region_BD").to(Dtype::f64)};
  Parameter centre{.name = "centre", .value = file.tensor("centre_KD").to(Dtype::f64)};
  region.gradient = 0, centre.gradient = region.value.numel();
  const Tensor gradients = Tensor::zeros({region.value.numel() + centre.value.numel()}, Dtype::f64, cpu());
  std::vector<std::int64_t> classes;
  if (e.softmax) classes = file.tensor("B_index").to_vector<std::int64_t>();

  Tape tape(gradients);
  const Var loss = rice_test::loss_of({.region = tape.parameter(region),
                                       .centre = tape.parameter(centre),
                                       .roles = golden_roles(file, e, classes),
                                       .classes = classes,
                                       .margin = {.margin = e.margin, .scale = scale, .m = m},
                                       .softmax = e.softmax});
  tape.backward(loss, Tensor::of<double>({1}, {1}));
  const double expected = Json::read(golden + "/summary.json").at(e.name).as_double();
  return {std::abs(loss.value.data<double>()[0] - expected) / expected,
          relative(gradient_of(region, gradients), file.tensor(e.name + ".d_region")),
          relative(gradient_of(centre, gradients), file.tensor(e.name + ".d_centre"))};
}

}  // namespace

TEST_CASE("rice golden: losses and the gradients of regions and centres, variants A and B, both margins") {
  for (const Expected& e : cases) {
    const Differences d = compare(e);
    CHECK_MESSAGE(d.loss <= 1e-12, e.name, ": loss differs by ", d.loss);
    CHECK_MESSAGE(d.region <= 1e-7, e.name, ": gradient of regions differs by ", d.region);
    CHECK_MESSAGE(d.centre <= 1e-7, e.name, ": gradient of centres differs by ", d.centre);
  }
}

TEST_CASE("rice golden: another margin, scale or kind of margin is noticed") {
  for (const Expected& e : cases) {
    CHECK(compare(e, 0.3 + 1e-6).worst() > 1e-7);
    CHECK(compare(e, 0.3, 64 * (1 + 1e-6)).worst() > 1e-7);
  }
  Expected straight = cases[1], true_arcface = cases[4];
  straight.margin = Margin::arcface_straight_through;  // the same loss, another gradient
  true_arcface.margin = Margin::arcface;
  for (const Expected& e : {straight, true_arcface}) {
    CHECK(compare(e).loss <= 1e-12);
    CHECK(compare(e).region > 1e-3);
  }
}
