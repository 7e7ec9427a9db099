#include "tensor/tensor.h"

#include <doctest/doctest.h>

using namespace ov;

TEST_CASE("tensor: the bytes of a view begin at the view, whatever its element's size") {
  const Tensor all = Tensor::of<float>({0, 1, 2, 3, 4, 5, 6, 7}, {8});
  const Tensor tail = all.slice(0, 5, 8);
  CHECK(tail.bytes() == reinterpret_cast<std::byte*>(all.data<float>() + 5));
  CHECK(tail.data<float>()[0] == 5);
  CHECK_THROWS_AS(tail.data<std::byte>(), std::logic_error);  // once wrote wrong weights to disk
  tail.zero();
  CHECK(all.to_vector<float>() == std::vector<float>{0, 1, 2, 3, 4, 0, 0, 0});
}

TEST_CASE("tensor: parts of a fused product are views whose rows are found") {
  const Tensor qkv = Tensor::of<float>({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {2, 6});
  const Tensor k = qkv.slice(1, 2, 6).view({2, 2, 2});
  CHECK(k.row<float>(0)[0] == 2);
  CHECK(k.row<float>(1)[1] == 5);
  CHECK(k.row<float>(2)[0] == 8);
  CHECK(k.row_stride() == -1);
  CHECK(qkv.slice(1, 2, 4).row_stride() == 6);
  CHECK(k.contiguous_copy().to_vector<float>() == std::vector<float>{2, 3, 4, 5, 8, 9, 10, 11});
  CHECK_FALSE(k.contiguous());
  CHECK_THROWS_AS(qkv.slice(1, 2, 4).view({4}), Error);
  CHECK_THROWS_AS(qkv.slice(1, 2, 7), Error);
}

TEST_CASE("tensor: conversion rounds, bf16 to nearest even") {
  const Tensor x = Tensor::of<double>({1.0 / 3, 1 + 0x1p-8, 1 + 3 * 0x1p-8}, {3});
  const auto f = x.to(Dtype::f32).to_vector<float>();
  CHECK(f[0] == 1.0f / 3);
  const auto b = x.to(Dtype::bf16).to(Dtype::f32).to_vector<float>();
  CHECK(b[1] == 1.0f);
  CHECK(b[2] == 1 + 0x1p-6f);
}

TEST_CASE("tensor: borrowed memory is its owner's, who stays as long as a view does; without one it is refused") {
  auto owner = std::make_shared<std::vector<float>>(6, 2.f);
  const std::weak_ptr<std::vector<float>> there = owner;
  Tensor t = Tensor::borrowed(owner->data(), {2, 3}, Dtype::f32, owner);
  const MemoryUse before = cpu().memory();
  owner.reset();
  const Tensor row = t.slice(0, 1, 2);
  t = {};
  CHECK(row.to_vector<float>() == std::vector<float>(3, 2.f));
  CHECK_FALSE(there.expired());
  t = row, t = {};
  CHECK(cpu().memory().total == before.total);
  const float loose[3] = {};
  CHECK_THROWS_AS(Tensor::borrowed(loose, {3}, Dtype::f32, nullptr), std::logic_error);
}

TEST_CASE("device: bytes are counted by segment, and peaks stay") {
  MetaDevice meta;
  {
    const Tensor w({1000}, Dtype::f32, meta, Segment::weights);
    const Tensor a({10}, Dtype::f64, meta);
    CHECK(meta.memory().bytes[static_cast<std::size_t>(Segment::weights)] == 4000);
    CHECK(meta.memory().total == 4080);
  }
  CHECK(meta.memory().total == 0);
  CHECK(meta.memory().total_peak == 4080);
  CHECK(meta.memory().peak[static_cast<std::size_t>(Segment::weights)] == 4000);
  CHECK_FALSE(Tensor({1}, Dtype::f32, meta).has_data());
}

TEST_CASE("device: shares that run at the same time raise the peaks as if they had been at their highest together") {
  MetaDevice meta;
  const auto activations = static_cast<std::size_t>(Segment::activations);
  const Tensor before({10}, Dtype::u8, meta);
  std::vector<MemoryUse> shares;
  std::vector<Tensor> left;
  for (const std::int64_t bytes : {100, 300, 200}) {
    Device::Share share(meta);
    { const Tensor t({bytes}, Dtype::u8, meta); }
    left.emplace_back(Shape{1}, Dtype::u8, meta);
    CHECK(meta.memory().bytes[activations] == 10 + static_cast<std::int64_t>(shares.size()));  // it is counted apart
    shares.push_back(share.close());
    CHECK(shares.back().peak[activations] == bytes);
  }
  CHECK(meta.memory().total == 13);
  meta.overlapped(shares, 2);
  CHECK(meta.memory().peak[activations] == 13 + 299 + 199);  // each has left one byte, which the 13 hold
  CHECK(meta.memory().total_peak == 13 + 299 + 199);
}
