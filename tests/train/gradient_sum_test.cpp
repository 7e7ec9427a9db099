// The tree over micro-batches, written out as a recursion.
#include "train/gradient_sum.h"

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
