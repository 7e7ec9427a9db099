// Tensors on several devices, and the kernels that copy and fill.
#include "tensor/transfer.h"

#include <doctest/doctest.h>

#include <limits>

#include "kernels/cpu/row_pointers.h"
#include "kernels/sim/device.h"
#include "kernels/table.h"

using namespace ov;

namespace {

std::vector<float> counted(std::int64_t n) {
  std::vector<float> v(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) v[static_cast<std::size_t>(i)] = static_cast<float>(i);
  return v;
}

}  // namespace

TEST_CASE("transfer: a tensor goes to another device and comes back, strided views too") {
  Device& there = sim_device();
  const Tensor x = Tensor::of(counted(24), {4, 6}), far = x.to(there);
  CHECK(&far.device() == &there);
  CHECK(far.storage() != x.storage());
  CHECK(x.to(cpu()).storage() == x.storage());  // where it already is: itself
  CHECK(far.to_vector<float>() == counted(24));
  const Tensor part = far.slice(1, 2, 4), back = part.to(cpu());
  CHECK(back.contiguous());
  CHECK(back.to_vector<float>() == std::vector<float>{2, 3, 8, 9, 14, 15, 20, 21});
  CHECK(part.to_vector<float>() == back.to_vector<float>());
  CHECK(Tensor::of(counted(3), {3}, there).to(cpu()).to_vector<float>() == counted(3));
  CHECK(Tensor::of<float>({}, {0, 4}, there).to(cpu()).numel() == 0);
}

TEST_CASE("transfer: copy_from crosses devices into strided views") {
  const Tensor far = Tensor::zeros({2, 4}, Dtype::f32, sim_device());
  far.slice(1, 1, 3).copy_from(Tensor::of<float>({1, 2, 3, 4}, {2, 2}));
  CHECK(far.to_vector<float>() == std::vector<float>{0, 1, 2, 0, 0, 3, 4, 0});
  const Tensor here = Tensor::zeros({2, 4}, Dtype::f32, cpu());
  here.slice(1, 0, 2).copy_from(far.slice(1, 1, 3));
  CHECK(here.to_vector<float>() == std::vector<float>{1, 2, 0, 0, 3, 4, 0, 0});
}

TEST_CASE("transfer: what has no data is an error that names both sides, and between meta tensors nothing happens") {
  MetaDevice meta, other;
  const Tensor x = Tensor::of(counted(3), {3}), shape({3}, Dtype::f32, meta), same({3}, Dtype::f32, other);
  CHECK_THROWS_WITH_AS(x.copy_from(shape), "copy: f32 [3] on meta into f32 [3] on cpu, which has no data on meta",
                       Error);
  CHECK_THROWS_WITH_AS(shape.copy_from(x), doctest::Contains("on cpu into f32 [3] on meta"), Error);
  CHECK_THROWS_WITH_AS(shape.to_vector<float>(), doctest::Contains("no data on meta"), Error);
  CHECK_THROWS_AS(x.copy_from(Tensor({4}, Dtype::f32, cpu())), Error);
  CHECK_THROWS_AS(x.copy_from(Tensor({3}, Dtype::f64, sim_device())), Error);
  shape.copy_from(same);
  shape.zero();
  CHECK(&x.to(meta).device() == &meta);
  CHECK(x.to(meta).shape() == x.shape());
  CHECK_THROWS_WITH_AS(shape.data<float>(), doctest::Contains("lies on meta"), std::logic_error);
  CHECK_THROWS_WITH_AS(shape.bytes(), doctest::Contains("lies on meta"), std::logic_error);
  CHECK_THROWS_WITH_AS(shape.row<float>(0), doctest::Contains("lies on meta"), std::logic_error);
  const Tensor far = Tensor::of(counted(3), {3}, sim_device());
  CHECK_THROWS_WITH_AS(kernels::copy({.y = x, .x = far}), doctest::Contains("on sim into [3] on cpu"), Error);
}

TEST_CASE("transfer: a scalar is read from any device, and nothing else is a scalar") {
  CHECK(read_scalar(Tensor::of<float>({0.5f}, {1}, sim_device())) == 0.5);
  CHECK(read_scalar(Tensor::of<double>({1.0 / 3}, {})) == 1.0 / 3);
  CHECK_THROWS_AS(read_scalar(Tensor::of<float>({1, 2}, {2})), Error);
  CHECK_THROWS_AS(read_scalar(Tensor::of<std::int64_t>({1}, {1})), Error);
}

TEST_CASE("transfer: an index outside of its range is named before it travels") {
  MetaDevice meta;
  CHECK(index_tensor("ids", {0, 4, -1}, {3}, -1, 5, sim_device()).to_vector<std::int64_t>() ==
        std::vector<std::int64_t>{0, 4, -1});
  CHECK_THROWS_WITH_AS(index_tensor("ids", {0, 4, 5}, {3}, 0, 5, cpu()), "ids[2] is 5, outside of [0, 5)", Error);
  CHECK_THROWS_WITH_AS(index_tensor("ids", {-1}, {1}, 0, 5, meta), "ids[0] is -1, outside of [0, 5)", Error);
}

TEST_CASE("copy: conversions of every pair of types, large enough for several threads, flat and strided") {
  const std::int64_t n = (1 << 17) + 3;
  std::vector<std::int64_t> small(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < small.size(); ++i) small[i] = static_cast<std::int64_t>(i % 128);  // exact in every type
  const Tensor x = Tensor::of(small, {n});
  const Dtype all[] = {Dtype::f64, Dtype::f32, Dtype::bf16, Dtype::i64, Dtype::i32, Dtype::u8};
  for (const Dtype a : all)
    for (const Dtype b : all) {
      CAPTURE(name_of(a));
      CAPTURE(name_of(b));
      CHECK(x.to(a).to(b).to(Dtype::i64).to_vector<std::int64_t>() == small);
      const Tensor wide = x.slice(0, 0, 12).view({2, 6}).to(a).slice(1, 1, 4);
      CHECK(wide.to(b).to(Dtype::i64).to_vector<std::int64_t>() == std::vector<std::int64_t>{1, 2, 3, 7, 8, 9});
      const Tensor filled({2, 3}, b, cpu());
      filled.zero();
      filled.slice(1, 1, 2).fill(7);
      CHECK(filled.to(Dtype::i64).to_vector<std::int64_t>() == std::vector<std::int64_t>{0, 7, 0, 0, 7, 0});
    }
  const Tensor large({n}, Dtype::f32, cpu());
  large.fill(-2.5);
  CHECK(large.to_vector<float>() == std::vector<float>(static_cast<std::size_t>(n), -2.5f));
}

TEST_CASE("tensor: rows of any view are found, whatever its rank") {
  const Tensor x = Tensor::of(counted(2 * 3 * 4 * 5), {2, 3, 4, 5}),
               inner = x.slice(1, 1, 3).slice(3, 2, 4);  // [2,2,4,2]
  REQUIRE(inner.row_stride() == -1);
  const kernels::cpu::RowPointers<float> rows(inner);
  std::int64_t n = 0;
  for (std::int64_t i = 0; i < 2; ++i)
    for (std::int64_t j = 1; j < 3; ++j)
      for (std::int64_t k = 0; k < 4; ++k, ++n) {
        const auto first = static_cast<float>(((i * 3 + j) * 4 + k) * 5 + 2);
        CHECK(inner.row<float>(n)[0] == first);
        CHECK(rows[n][1] == first + 1);
      }
  const Tensor three = x.view({6, 4, 5}).slice(1, 1, 3);  // [6,2,5]: groups of rows
  const kernels::cpu::RowPointers<float> groups(three);
  for (std::int64_t i = 0; i < 12; ++i) {
    CHECK(groups[i] == three.row<float>(i));
    CHECK(groups[i][0] == static_cast<float>((i / 2 * 4 + 1 + i % 2) * 5));
  }
  const kernels::cpu::RowPointers<float> plain(x);
  CHECK(plain[23][4] == 119);
}

TEST_CASE("tensor: the last axes stay and those before them are multiplied") {
  const Tensor x({2, 3, 4, 5}, Dtype::u8, cpu());
  CHECK(x.dims<1>() == std::array<std::int64_t, 1>{120});
  CHECK(x.dims<2>() == std::array<std::int64_t, 2>{24, 5});
  CHECK(x.dims<3>() == std::array<std::int64_t, 3>{6, 4, 5});
  CHECK(x.dims<5>() == std::array<std::int64_t, 5>{1, 2, 3, 4, 5});
  CHECK(Tensor({7}, Dtype::u8, cpu()).dims<2>() == std::array<std::int64_t, 2>{1, 7});
  CHECK(Tensor(Shape{}, Dtype::u8, cpu()).dims<2>() == std::array<std::int64_t, 2>{1, 1});
}

TEST_CASE("tensor: a size that does not fit is an error before anything is allocated") {
  MetaDevice meta;
  const std::int64_t half = std::int64_t{1} << 62, most = std::numeric_limits<std::int64_t>::max();
  CHECK_THROWS_WITH_AS((Shape{half, 2, 0}).numel(), doctest::Contains("[4611686018427387904, 2, 0]"), Error);
  CHECK_THROWS_AS((Shape{half, 4}).numel(), Error);
  CHECK((Shape{most, 1}).numel() == most);
  CHECK_THROWS_WITH_AS(Tensor({half}, Dtype::f32, meta), doctest::Contains("its bytes cannot be counted"), Error);
  CHECK_THROWS_AS(Tensor({half + 1, 1}, Dtype::f32, cpu()), Error);
  CHECK_THROWS_AS(Tensor({-3}, Dtype::u8, cpu()), Error);
  CHECK(Tensor({half}, Dtype::u8, meta).nbytes() == std::size_t{1} << 62);
}

TEST_CASE("device: memory that cannot be had is an error that names device, size and segment") {
  CHECK_THROWS_WITH_AS(Tensor({std::int64_t{1} << 62}, Dtype::u8, cpu(), Segment::optimizer),
                       doctest::Contains("device cpu: out of memory: 4611686018427387904 bytes asked for optimizer, "),
                       Error);
}

TEST_CASE("device: a block is never handed out twice, and a freed one comes again") {
  std::vector<Tensor> held;
  for (int round = 0; round < 3; ++round) {
    for (std::int64_t i = 0; i < 200; ++i) {
      held.emplace_back(Shape{1 + i * 37 % 501}, Dtype::f64, cpu());
      held.back().fill(static_cast<double>(i));
    }
    std::int64_t wrong = 0;
    for (std::size_t i = 0; i < held.size(); ++i)
      for (const double v : held[i].to_vector<double>()) wrong += v != static_cast<double>(i % 200);
    CHECK(wrong == 0);
    held.resize(static_cast<std::size_t>(round) % 2 ? 0 : 200);
  }
}
