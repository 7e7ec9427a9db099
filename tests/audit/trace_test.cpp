// What a trace's input may be. Its values against the original's: tests/model/golden_dense_test.cpp.
#include "audit/trace.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/model/small_model.h"

using namespace ov;
using namespace ov::test;

namespace {

using Ids = std::vector<std::int64_t>;

struct Input {
  Tensor ids = Tensor::of<std::int64_t>({5, 6, 7}, {3});
  std::vector<NamedTensor> more = {};
};

TraceCase read(const Input& input) {
  const ScratchDirectory scratch;
  std::vector<NamedTensor> all = {{"input_ids", input.ids}};
  for (const NamedTensor& t : input.more) all.push_back(t);
  write_safetensors(scratch / "case.safetensors", all);
  return read_trace_case(scratch / "case.safetensors", Dtype::f64);
}

std::string fault(const Input& input) {
  return thrown([&] { read(input); });
}

bool says(const Input& input, const std::string& text) {
  const std::string said = fault(input);
  CAPTURE(said);
  CHECK(said.find("case.safetensors: " + text) != said.npos);
  return said.find("case.safetensors: " + text) != said.npos;
}

Tensor pixels(std::int64_t rows) { return Tensor::zeros({rows, 588}, Dtype::f32, cpu()); }

}  // namespace

TEST_CASE("trace input: one row, as [T] or [1, T]; more rows are refused, not joined") {
  CHECK(read({}).input_ids == Ids{5, 6, 7});
  CHECK(read({.ids = Tensor::of<std::int64_t>({5, 6}, {1, 2})}).input_ids == Ids{5, 6});
  CHECK(read({.more = {{"labels", Tensor::of<std::int64_t>({-100, 6, 7}, {1, 3})}}}).labels == Ids{-100, 6, 7});
  CHECK(says({.ids = Tensor::of<std::int64_t>({5, 6, 7, 8}, {2, 2})}, "input_ids is [2, 2], expected one row"));
  CHECK(says({.ids = Tensor::of<std::int64_t>({5}, {1, 1, 1})}, "input_ids is [1, 1, 1], expected one row"));
  CHECK(says({.more = {{"labels", Tensor::of<std::int64_t>({1, 2, 3}, {3, 1})}}}, "labels is [3, 1]"));
}

TEST_CASE("trace input: a tensor that a trace does not read is named; another model's results may stand there") {
  const Tensor ones = Tensor::of<std::int64_t>({1, 1, 1}, {3}), values = Tensor::of<float>({1}, {1});
  for (const char* name : {"attention_mask", "position_ids", "pixel_value"})
    CHECK(says({.more = {{name, ones}}}, cat("holds ", name, ", which a trace does not read")));
  CHECK(fault({.more = {{"logits", values}, {"token_loss", values}, {"act.model.norm", values}, {"grad.w", values}}})
            .empty());
}

TEST_CASE("trace input: ids in floats are whole numbers that a float can hold") {
  CHECK(read({.ids = Tensor::of<float>({5, 6}, {2})}).input_ids == Ids{5, 6});
  for (const double wrong : {1e300, -1e19, 0.5, 0x1p60})
    CHECK(says({.ids = Tensor::of<double>({1, wrong}, {2})}, "input_ids holds "));
  CHECK_FALSE(fault({.ids = Tensor::of<double>({std::nan("")}, {1})}).empty());
}

TEST_CASE("trace input: a grid asks for as many patches as there are, which is known before anything is laid out") {
  const auto with = [](const Ids& grid, std::int64_t rows) {
    return Input{.more = {{"pixel_values", pixels(rows)},
                          {"image_grid_thw", Tensor::of(grid, {static_cast<std::int64_t>(grid.size()) / 3, 3})}}};
  };
  CHECK(read(with({1, 4, 6, 2, 2, 2}, 32)).grids.size() == 2);
  constexpr std::int64_t one = 1;
  for (const Ids& grid :
       {Ids{1, one << 40, 6}, Ids{1, one << 62, 4}, Ids{1'000'000'000'000, 4, 6}, Ids{one << 62, one << 62, one << 62},
        Ids{one << 62, 1, 1, one << 62, 1, 1, one << 62, 1, 1}, Ids{-1, -4, 6}, Ids{0, 4, 6}, Ids{1, 4, 4}}) {
    const std::string said = fault(with(grid, 24));
    CAPTURE(said);
    CHECK(said.find("pixel_values has 24 rows") != said.npos);
  }
  CHECK(says({.more = {{"pixel_values", pixels(4)}}}, "pixel_values without image_grid_thw"));
  CHECK(says({.more = {{"image_grid_thw", Tensor::of<std::int64_t>({1, 2, 2}, {1, 3})}}},
             "image_grid_thw without pixel_values"));
  CHECK(says({.more = {{"pixel_values", pixels(4)}, {"image_grid_thw", Tensor::of<std::int64_t>({1, 2, 2}, {3})}}},
             "image_grid_thw is [3], expected [images, 3]"));
}

TEST_CASE("trace: patches of another width and another placeholder are told by the names of what differs") {
  const auto model = test::small_model();
  const auto said = [&](std::int64_t width, std::int64_t placeholder) -> std::string {
    TraceCase c;
    c.input_ids = {1, placeholder, 2};
    c.grids = {{1, 2, 2}};
    c.pixel_values = Tensor::zeros({4, width}, Dtype::f32, cpu());
    try {
      trace_model(*model, c);
    } catch (const Error& e) { return e.what(); }
    return "";
  };
  CHECK(said(588, 96).empty());
  CHECK(said(587, 96).find("pixel_values has rows of 587 values, the model's patches have 588") != std::string::npos);
  CHECK(said(588, 95).find("image_token_id is 96") != std::string::npos);
}
