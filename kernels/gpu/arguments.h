// The fields of a kernel's arguments, one after the other: how a device finds itself among them.
#pragma once
#include <type_traits>
#include <utility>

namespace ov::gpu {

struct Anything {
  template <class T>
  operator T() const;  // never defined: it stands for a field while fields are counted
};

template <class A, std::size_t... I>
constexpr bool takes(std::index_sequence<I...>) {
  return requires { A{(static_cast<void>(I), Anything{})...}; };
}

template <class A, std::size_t N = 0>
constexpr std::size_t field_count() {
  if constexpr (takes<A>(std::make_index_sequence<N + 1>{})) return field_count<A, N + 1>();
  else return N;
}

// f(field) for every field of an aggregate.
template <class A, class F>
void for_each_field(A& a, F&& f) {
  constexpr std::size_t n = field_count<A>();
  static_assert(n <= 18, "a kernel with more arguments: add a line");
  const auto each = [&](auto&... fields) { (f(fields), ...); };
#define OV_FIELDS(count, ...) \
  if constexpr (n == count) { \
    auto& [__VA_ARGS__] = a;  \
    each(__VA_ARGS__);        \
  }
  OV_FIELDS(1, b)
  OV_FIELDS(2, b, c)
  OV_FIELDS(3, b, c, d)
  OV_FIELDS(4, b, c, d, e)
  OV_FIELDS(5, b, c, d, e, g)
  OV_FIELDS(6, b, c, d, e, g, h)
  OV_FIELDS(7, b, c, d, e, g, h, i)
  OV_FIELDS(8, b, c, d, e, g, h, i, j)
  OV_FIELDS(9, b, c, d, e, g, h, i, j, k)
  OV_FIELDS(10, b, c, d, e, g, h, i, j, k, l)
  OV_FIELDS(11, b, c, d, e, g, h, i, j, k, l, m)
  OV_FIELDS(12, b, c, d, e, g, h, i, j, k, l, m, o)
  OV_FIELDS(13, b, c, d, e, g, h, i, j, k, l, m, o, p)
  OV_FIELDS(14, b, c, d, e, g, h, i, j, k, l, m, o, p, q)
  OV_FIELDS(15, b, c, d, e, g, h, i, j, k, l, m, o, p, q, r)
  OV_FIELDS(16, b, c, d, e, g, h, i, j, k, l, m, o, p, q, r, s)
  OV_FIELDS(17, b, c, d, e, g, h, i, j, k, l, m, o, p, q, r, s, t)
  OV_FIELDS(18, b, c, d, e, g, h, i, j, k, l, m, o, p, q, r, s, t, u)
#undef OV_FIELDS
}

}  // namespace ov::gpu
