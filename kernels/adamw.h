// AdamW with decoupled weight decay (Loshchilov and Hutter 2019), bias-corrected, and the gradient norm for clipping.
//
//   g ← clip grad
//   m ← β1 m + (1-β1) g
//   v ← β2 v + (1-β2) g²
//   w ← w - lr wd w
//   w ← w - lr (m / (1-β1^t)) / (√(v / (1-β2^t)) + eps)         in the order of torch.optim.AdamW
//   param = w, rounded
//
// param [N]; grad m v [M] of its accumulation type. w is `master` [M], of that type too; where param has that type
// already, master is null and w is param. Elements do not see each other: `ranges` says which of them are updated, by
// which rate and decay, all in one call that equals one call a range; none given: all of them, M = N, by lr and
// weight_decay. Ranges do not overlap. A clip that is not finite leaves everything as it was.
//
// m and v may be kept in bf16; w then sees them before they are rounded. Rounded to the nearest, a v of which β2 takes
// less than 2^-9 stays where it is for ever. Given `random`, m and v are rounded up in size with the probability of the
// bits that are cut off, which is right on average: by the lower and the upper half of word `first` + i of it, where i
// counts the elements of m.
//
// squared_sums: partial_k = Σ x² over chunk k of `norm_chunk` elements, each a fixed tree in f64: shards that start on
// chunk borders and are added chunk by chunk give the same norm bits as the whole buffer.
//
// clip_factor: norm = √Σ_k partial_k,  clip = min(1, limit / (norm + 1e-6)), or 1 when limit is 0; NaN when the norm is
// not finite. Both stay on the device, so that a step does not wait for its norm.
#pragma once
#include <optional>
#include <vector>

#include "base/rng.h"
#include "tensor/tensor.h"

namespace ov::kernels {

struct AdamwRange {
  std::int64_t param, begin, count;  // where it begins in param; in grad, m, v and master; elements
  double lr, weight_decay;
};
struct Adamw {
  Tensor param, m, v;
  Tensor grad, clip;  // clip [1] f64
  double lr = 0, beta1, beta2, eps, weight_decay = 0;
  std::int64_t step;   // t, from 1
  Tensor master = {};  // written too
  std::vector<AdamwRange> ranges = {};
  std::optional<Philox> random = {};
  std::uint64_t first = 0;
};
struct SquaredSums {
  Tensor partial;  // [⌈N / norm_chunk⌉] f64
  Tensor x;
};
struct ClipFactor {
  Tensor norm, clip;  // [1] f64
  Tensor partial;
  double limit;
};

// x, or where it is finite one of its two neighbours in bf16, by the lower 16 bits of a random word.
OV_HD inline Bf16 rounded_by_chance(float x, std::uint32_t word) {
  const auto u = __builtin_bit_cast(std::uint32_t, x);
  if ((u & 0x7f800000u) == 0x7f800000u) return Bf16(x);
  return Bf16(__builtin_bit_cast(float, (u + (word & 0xffffu)) & 0xffff0000u));
}

constexpr std::int64_t norm_chunk = 4096;  // elements

std::vector<AdamwRange> ranges_of(const Adamw&);  // those given, or all as one
void adamw(const Adamw&);
void squared_sums(const SquaredSums&);
void clip_factor(const ClipFactor&);

}  // namespace ov::kernels
