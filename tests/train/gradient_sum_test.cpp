// The tree over micro-batches, written out as a recursion.
#include "train/gradient_sum.h"

#include <bit>

#include "base/rng.h"
#include "tests/check.h"

using namespace ov;
using test::same_bits;

namespace {

constexpr std::int64_t width = 5;

Tensor leaf_of(std::int64_t i) {
  const Philox random(7, "leaf", static_cast<std::uint64_t>(i));
  std::vector<float> values(width);
  for (std::size_t k = 0; k < values.size(); ++k) values[k] = static_cast<float>(random.normal(k));
  return Tensor::of(values, {width});
}

// Leaves [begin, begin + n): the largest power of two below n, and the rest.
std::vector<float> tree(std::int64_t begin, std::int64_t n) {
  if (n == 1) return leaf_of(begin).to_vector<float>();
  std::int64_t half = 1;
  while (2 * half < n) half *= 2;
  std::vector<float> left = tree(begin, half);
  const std::vector<float> right = tree(begin + half, n - half);
  for (std::size_t k = 0; k < left.size(); ++k) left[k] += right[k];
  return left;
}

}  // namespace

TEST_CASE("tree sum: any number of leaves has the tree's bits, one by one or in aligned ranges") {
  TreeSum sum([] { return Tensor({width}, Dtype::f32, cpu()); });
  for (std::int64_t n = 1; n <= 33; ++n) {
    CAPTURE(n);
    const Tensor expected = Tensor::of(tree(0, n), {width});
    for (std::int64_t i = 0; i < n; ++i) sum.add(leaf_of(i));
    CHECK(same_bits(sum.finish(), expected));
    for (std::int64_t range = 2; range <= n; range *= 2) {
      for (std::int64_t i = 0; i < n; i += range) {
        if (i + range <= n) sum.add(Tensor::of(tree(i, range), {width}), range);
        else
          for (std::int64_t k = i; k < n; ++k) sum.add(leaf_of(k));
      }
      CHECK(same_bits(sum.finish(), expected));
    }
  }
  CHECK(test::thrown([&] { sum.finish(); }) == "TreeSum: nothing was added");
}

TEST_CASE(
    "tree sum: leaves that are ready together have the same bits, and what was added is zeroed for the next step") {
  constexpr std::int64_t wide = 40000;  // several stretches, the last one shorter
  const auto fill = [](const Tensor& t, std::int64_t i) {
    const Philox random(9, "leaf", static_cast<std::uint64_t>(i));
    for (std::int64_t k = 0; k < wide; ++k)
      t.data<float>()[k] = static_cast<float>(random.normal(static_cast<std::uint64_t>(k)));
  };
  const auto buffer = [] { return Tensor({wide}, Dtype::f32, cpu()); };
  for (const int n : {1, 2, 3, 4, 5, 7, 8}) {
    CAPTURE(n);
    TreeSum one(buffer), all(buffer);
    for (int step = 0; step < 3; ++step) {
      std::vector<Tensor> leaves;
      int all_zeros = 0;
      for (int i = 0; i < n; ++i) {
        bool zeros = true;
        const Tensor leaf = all.leaf(&zeros);
        int others = 0;
        for (std::int64_t k = 0; zeros && k < wide; ++k)
          others += std::bit_cast<std::uint32_t>(leaf.data<float>()[k]) != 0;
        CHECK(others == 0);
        all_zeros += zeros;
        leaves.push_back(leaf);
      }
      // Every set bit of n is a whole tree, whose leaves were added to its first one; finish() adds these.
      CHECK(all_zeros == (step > 0 ? n - std::popcount(static_cast<unsigned>(n)) : 0));
      for (int i = 0; i < n; ++i) {
        fill(leaves[static_cast<std::size_t>(i)], i);
        const Tensor alone = one.leaf();
        fill(alone, i);
        one.add(alone);
      }
      all.add(leaves);
      const Tensor total = all.finish(), expected = one.finish();
      CHECK(same_bits(total, expected));
      all.reuse(total), one.reuse(expected);
    }
  }
}
