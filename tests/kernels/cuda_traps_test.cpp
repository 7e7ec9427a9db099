// Sizes and values at which kernels of others were wrong: tensors beyond 2^31 elements, grids beyond 65535, indices
// outside of their table, keys that fill up a block, logits far from 0.
#include <doctest/doctest.h>

#include "kernels/segments.h"
#include "kernels/table.h"
#include "tests/devices/sim_device.h"
#include "tests/kernels/cuda_twins.h"

using namespace ov;
using namespace ov::kernels;
using namespace ov::test;

TEST_CASE(
    "elements beyond the first 2^31 of a tensor are reached: as rows of a table, and by the strides of rows (G-18)") {
  SimDevice d(ForeignDevice::Policy::eager, 0, std::size_t{24} << 30);  // address space: only touched pages are memory
  const std::int64_t C = 64, rows = (std::int64_t{1} << 31) / C + 3;
  const Tensor table({rows, C}, Dtype::bf16, d), y({2, C}, Dtype::bf16, d);
  const Tensor last = on(d, drawn(2 * C, 1), {2, C}).to(Dtype::bf16);
  table.slice(0, rows - 2, rows).copy_from(last);
  const Tensor ids = on(d, std::vector<std::int64_t>{rows - 2, rows - 1}, {2});
  embedding_forward({.y = y, .ids = ids, .table = table});
  CHECK(same_bits(y, last));
  take_rows_forward({.y = y, .x = table, .index = ids});
  CHECK(same_bits(y, last));

  // Three rows, 2^30 + 8 elements apart: the third begins beyond 2^31.
  const Tensor apart({3, (std::int64_t{1} << 30) + 8}, Dtype::bf16, d);
  const Tensor close = on(d, drawn(3 * 2 * C, 2), {3, 2 * C}).to(Dtype::bf16), w = close.slice(0, 0, 1).view({2 * C});
  const Tensor far = apart.slice(1, 0, 2 * C), square = on(d, drawn(4 * C * C, 4), {2 * C, 2 * C}).to(Dtype::bf16);
  far.copy_from(close);
  std::vector<Tensor> results[2];
  for (const Tensor& x : {close, far}) {
    const Tensor normed = Tensor::like(close), rstd({3}, Dtype::f32, d), h({3, C}, Dtype::bf16, d), c = Tensor::like(h);
    rmsnorm_forward({.y = normed, .rstd = rstd, .x = x, .w = w, .eps = 1e-6});
    swiglu_forward({.y = h, .gate = x.slice(1, 0, C), .up = x.slice(1, C, 2 * C)});
    const Tensor product = Tensor::like(close), added = Tensor::like(close), back = x;
    gemm({.c = product, .a = x, .b = square, .trans_b = true});
    add({.y = added, .a = x, .b = close});
    const Tensor sums = Tensor::zeros({2 * C}, Dtype::f32, d);
    sum_rows({.sum = sums, .x = x});
    results[x.row_stride() > 2 * C] = {normed, rstd, h, product, added, sums};
  }
  for (std::size_t i = 0; i < results[0].size(); ++i) CHECK(same_bits(results[0][i], results[1][i]));
}

TEST_CASE("more rows than gridDim.y can be go through every kernel that spreads rows over the grid (G-19)") {
  SimDevice d;
  const std::int64_t N = 65537;
  const auto column = [&](Device& device) { return on(device, drawn(N, 1), {N, 1}); };
  std::vector<Tensor> results[2];
  for (Device* device : {&ov::cpu(), static_cast<Device*>(&d)}) {
    const Tensor x = column(*device), added({N, 1}, Dtype::f32, *device), table = on(*device, drawn(2, 3), {2, 1});
    const Tensor both({N, 2}, Dtype::f32, *device), apart = both.slice(1, 0, 1);  // no packets, rows stay apart
    std::vector<std::int64_t> which(std::size_t(N), 1);
    const Tensor ids = on(*device, which, {N}), taken({N, 1}, Dtype::f32, *device);
    const Tensor sum = Tensor::zeros({1}, Dtype::f32, *device);
    add({.y = apart, .a = x, .b = x});
    add({.y = added, .a = apart, .b = x});
    embedding_forward({.y = taken, .ids = ids, .table = table});
    sum_rows({.sum = sum, .x = apart});
    // A row of 129 numbers that are no packets takes a block: as many blocks as rows are asked for.
    const Tensor rows = Tensor::zeros({N, 130}, Dtype::f32, *device), doubled({N, 129}, Dtype::f32, *device);
    add({.y = doubled, .a = rows.slice(1, 0, 129), .b = rows.slice(1, 1, 130)});
    results[device == &d] = {added, taken, sum, doubled.slice(0, N - 3, N)};
  }
  for (std::size_t i = 0; i < results[0].size(); ++i) CHECK(same_bits(results[0][i], results[1][i]));
}

TEST_CASE("rows: an index outside of its table gives a row of NaN and adds to nothing in the CUDA twins") {
  SimDevice d;
  const std::vector<float> table = {1, 2, 3, 4};
  const auto is_nan = [](const Tensor& t) {
    std::vector<bool> v;
    for (const float x : t.to_vector<float>()) v.push_back(std::isnan(x));
    return v;
  };
  for (const std::int64_t outside : {std::int64_t{-1}, std::int64_t{2}, std::int64_t{1} << 40}) {
    const Tensor x = on(d, table, {2, 2}), ids = on(d, std::vector<std::int64_t>{1, outside}, {2}), y = Tensor::like(x);
    embedding_forward({.y = y, .ids = ids, .table = x});
    CHECK(is_nan(y) == std::vector<bool>{false, false, true, true});
    embedding_backward({.dtable = x, .dy = y, .ids = ids});
    CHECK(x.to_vector<float>() == std::vector<float>{1, 2, 6, 8});
    take_rows_backward({.dx = y, .dy = x, .index = ids});
    CHECK(y.to_vector<float>() == std::vector<float>{0, 0, 1, 2});
    take_rows_forward({.y = y, .x = x, .index = ids});
    CHECK(is_nan(y) == std::vector<bool>{false, false, true, true});
    splice_forward({.y = y, .text = x, .features = x, .source = ids});
    CHECK(is_nan(y) == std::vector<bool>{false, false, outside >= 0, outside >= 0});  // -1: the text's row
  }
  // Three rows of two patches and the class token of a picture that is none of them.
  for (const std::int64_t outside : {std::int64_t{-1}, std::int64_t{3}, std::int64_t{1} << 40}) {
    const Tensor x = on(d, table, {2, 2}), one = on(d, std::vector<float>{5, 6}, {2}), y = unwritten(d, {3, 2});
    const Tensor first = on(d, std::vector<std::int64_t>{outside}, {1}), dx = unwritten(d, {2, 2});
    insert_class_tokens_forward({.y = y, .x = x, .class_vector = one, .first_row = first});
    const bool before = outside < 0;
    CHECK(is_nan(y) == std::vector<bool>{before, before, false, false, !before, !before});
    const Tensor dy = on(d, std::vector<float>{1, 2, 3, 4, 5, 6}, {3, 2});
    insert_class_tokens_backward({.dx = dx, .dclass_vector = one, .dy = dy, .first_row = first});
    CHECK(dx.to_vector<float>() == (before ? std::vector<float>{3, 4, 5, 6} : table));
    CHECK(one.to_vector<float>() == std::vector<float>{5, 6});
  }
}

TEST_CASE("keys that only fill up a block do not count, however low the scores of the others are (G-23)") {
  SimDevice d;
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const std::int64_t n : {1, 63, 65, 129}) {
      const std::int64_t D = 16;
      const Tensor q = Tensor::of(std::vector<float>(std::size_t(n * D), 8), {n, 1, D}).to(dtype).to(d);
      const Tensor k = Tensor::of(std::vector<float>(std::size_t(n * D), -8), {n, 1, D}).to(dtype).to(d);  // all -1024
      const Tensor v = Tensor::of(std::vector<float>(std::size_t(n * D), 3), {n, 1, D}).to(dtype).to(d);
      const Tensor o = Tensor::like(q), lse({n, 1}, Dtype::f32, d);
      const Segments segments({{0, n, 0, n}}, n, n, false, d);
      attention_forward(
          {.o = o, .lse = lse, .q = q, .k = k, .v = v, .segments = segments.rows, .causal = false, .scale = 1});
      // Equal scores: the mean of equal values, and the largest score plus log n.
      for (const float x : o.to(Dtype::f32).to_vector<float>()) CHECK(std::abs(x - 3) <= 3 * 0x1p-8f);
      for (const float x : lse.to_vector<float>()) CHECK(std::abs(x + 1024 - std::log(float(n))) <= 1024 * 0x1p-22f);
    }
}

TEST_CASE("the loss keeps its digits where the logits are far from 0 (G-52)") {
  SimDevice d;
  for (const float shift : {0.f, 1e4f, -1e4f}) {
    const Tensor loss({1}, Dtype::f32, d), token({2}, Dtype::f32, d), lse({2, 2}, Dtype::f32, d);
    cross_entropy_forward({.loss = loss,
                           .token_loss = token,
                           .lse = lse,
                           .logits = on(d, std::vector<float>{shift, shift - 1, shift + 0.5f, shift}, {2, 2}),
                           .targets = on(d, std::vector<std::int64_t>{0, 1}, {2}),
                           .weights = on(d, std::vector<float>{1, 1}, {2}),
                           .denominator = 2});
    const std::vector<float> of = token.to_vector<float>();
    CHECK(std::abs(of[0] - std::log1p(std::exp(-1.0))) < 1e-6);
    CHECK(std::abs(of[1] - std::log1p(std::exp(0.5))) < 1e-6);
  }
}
