// Every call of a communicator against what it has to leave, bit for bit.
#pragma once
#include <cmath>

#include "base/hash.h"
#include "comm/communicator.h"
#include "comm/ordered_sum.h"
#include "tests/comm/forked_ranks.h"

namespace ov::test {

// Numbers whose sum depends on the order, another list for each rank.
inline Tensor numbers(Dtype dtype, std::int64_t n, int rank) {
  const auto random = [&](std::int64_t i) {
    return mix64(static_cast<std::uint64_t>(rank), static_cast<std::uint64_t>(i));
  };
  const Tensor t({n}, dtype, cpu());
  if (dtype == Dtype::i64)
    for (std::int64_t i = 0; i < n; ++i) t.data<std::int64_t>()[i] = static_cast<std::int64_t>(random(i) >> 8);
  else
    by_dtype(dtype, [&](auto v) {
      using T = decltype(v);
      for (std::int64_t i = 0; i < n; ++i)
        t.data<T>()[i] = T((static_cast<float>(random(i) >> 40) - 0x1p23f) * (i % 7 ? 1.0f : 1e-5f));
    });
  return t;
}

inline Tensor sum_of_all(Dtype dtype, std::int64_t n, int ranks) {
  std::vector<Tensor> all;
  for (int r = 0; r < ranks; ++r) all.push_back(numbers(dtype, n, r));
  sum_in_order(all);
  return all[0];
}

// Whether `got` is the sum over ranks of their numbers from `first` on, of which `expected` is the ordered one.
using RightSum = std::function<bool(const Tensor& got, const Tensor& expected, std::int64_t first, int ranks)>;
inline bool bits_of_ordered(const Tensor& got, const Tensor& expected, std::int64_t, int) {
  return same_bits(got, expected);
}
// Any order of n numbers: each of n - 1 additions rounds what is at most Σ|x|, and the ordered sum does so too. So two
// orders are at most 2 (n-1) u Σ|x| apart, times (1 + u)^n for what is rounded twice.
inline bool within_rounding(const Tensor& got, const Tensor& expected, std::int64_t first, int ranks) {
  if (got.dtype() == Dtype::i64) return same_bits(got, expected);
  const double u = got.dtype() == Dtype::f64 ? 0x1p-53 : got.dtype() == Dtype::f32 ? 0x1p-24 : 0x1p-8;
  bool right = true;
  std::vector<Tensor> all;
  for (int r = 0; r < ranks; ++r) all.push_back(numbers(got.dtype(), first + got.numel(), r));
  by_dtype(got.dtype(), [&](auto v) {
    using T = decltype(v);
    for (std::int64_t i = 0; i < got.numel(); ++i) {
      double sum = 0;
      for (const Tensor& t : all) sum += std::abs(static_cast<double>(t.data<T>()[first + i]));
      const double apart = static_cast<double>(got.data<T>()[i]) - static_cast<double>(expected.data<T>()[i]);
      right = right && std::abs(apart) <= 2 * (ranks - 1) * u * sum * std::pow(1 + u, ranks);
    }
  });
  return right;
}

inline void every_call(Communicator& ranks, Device& device, const std::vector<std::int64_t>& sizes,
                       const std::vector<Dtype>& types, const RightSum& right = bits_of_ordered) {
  const int me = ranks.rank(), n = ranks.ranks();
  for (const std::int64_t size : sizes)
    for (const Dtype dtype : types) {
      const std::string what = cat(name_of(dtype), " of ", size, ", ", n, " ranks");
      const auto there = [&](const Tensor& t) { return t.to(device); };
      const auto is = [&](const Tensor& got, const Tensor& expected, const char* call) {
        require(same_bits(got.to(cpu()), expected), cat(call, " of ", what));
      };
      const auto adds = [&](const Tensor& got, const Tensor& expected, std::int64_t first, const char* call) {
        require(right(got.to(cpu()), expected.contiguous_copy(), first, n), cat(call, " of ", what));
      };
      const Tensor t = there(numbers(dtype, size, me));
      ranks.all_reduce(t);
      adds(t, sum_of_all(dtype, size, n), 0, "all_reduce");
      const Tensor b = there(numbers(dtype, size, me));
      ranks.broadcast(b, n - 1);
      is(b, numbers(dtype, size, n - 1), "broadcast");
      const Tensor whole = there(numbers(dtype, size * n, me)), part = there(numbers(dtype, size, me));
      ranks.reduce_scatter(part, whole);
      adds(part, sum_of_all(dtype, size * n, n).slice(0, me * size, (me + 1) * size), me * size, "reduce_scatter");
      ranks.all_gather(whole, there(numbers(dtype, size, me)));
      for (int r = 0; r < n; ++r) is(whole.slice(0, r * size, (r + 1) * size), numbers(dtype, size, r), "all_gather");
      const Tensor from = there(numbers(dtype, size * n, me)), to = Tensor::like(from);
      ranks.all_to_all(to, from);
      for (int r = 0; r < n; ++r)
        is(to.slice(0, r * size, (r + 1) * size), numbers(dtype, size * n, r).slice(0, me * size, (me + 1) * size),
           "all_to_all");
      for (int r = 0; r + 1 < n; ++r) {  // a chain: each hands on what it got
        const Tensor m = there(numbers(dtype, size, me == r ? 99 : me));
        if (me == r) ranks.send(m, r + 1);
        if (me == r + 1) ranks.recv(m, r), is(m, numbers(dtype, size, 99), "send");
      }
      if (size > 5000) continue;  // the parts below are n times as long
      // Parts of several sizes, none for rank 0, and some with room between them.
      Parts parts;
      std::int64_t all = 0;
      for (int r = 0; r < n; ++r) all += r * size + 1;
      const Tensor flat = there(numbers(dtype, all, me));
      const auto begin = [&](int r) { return r + r * (r - 1) / 2 * size; };
      for (int r = 0; r < n; ++r) parts.push_back(flat.slice(0, begin(r), begin(r) + r * size));
      const auto own = static_cast<std::size_t>(me);
      ranks.reduce_scatter(parts[own], parts, n);
      const Tensor sums = sum_of_all(dtype, all, n);
      const auto range = [&](int r) { return sums.slice(0, begin(r), begin(r) + r * size); };
      adds(parts[own], range(me), begin(me), "uneven reduce_scatter");
      const Tensor kept = parts[own].contiguous_copy();
      ranks.all_gather(parts);
      for (int r = 0; r < n; ++r) adds(parts[static_cast<std::size_t>(r)], range(r), begin(r), "uneven all_gather");
      is(parts[own], kept.to(cpu()), "own part of all_gather");
      ranks.barrier();
    }
}

}  // namespace ov::test
