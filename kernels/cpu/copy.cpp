#include "kernels/copy.h"

#include "base/parallel.h"
#include "kernels/cpu/grain.h"
#include "kernels/cpu/row_pointers.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

constexpr std::int64_t flat_grain = 1 << 16;  // elements

template <class F>
void any_dtype(Dtype dtype, F&& f) {
  switch (dtype) {
    case Dtype::f64: return f(double{});
    case Dtype::f32: return f(float{});
    case Dtype::bf16: return f(Bf16{});
    case Dtype::i64: return f(std::int64_t{});
    case Dtype::i32: return f(std::int32_t{});
    case Dtype::u8: return f(std::uint8_t{});
  }
}

template <class To, class From>
void copy_as(const Copy& a) {
  const auto copy_row = [](To* y, const From* x, std::int64_t n) {
    for (std::int64_t c = 0; c < n; ++c) y[c] = static_cast<To>(x[c]);
  };
  if (a.x.contiguous() && a.y.contiguous()) {
    To* y = a.y.device_data<To>();
    const From* x = a.x.device_data<From>();
    return parallel_ranges(a.y.numel(), flat_grain,
                           [&](std::int64_t begin, std::int64_t end) { copy_row(y + begin, x + begin, end - begin); });
  }
  const auto [N, C] = a.y.dims<2>();
  const RowPointers<To> ys(a.y);
  const RowPointers<From> xs(a.x);
  parallel_for(N, grain(C), [&, C = C](std::int64_t n) { copy_row(ys[n], xs[n], C); });
}

}  // namespace

void copy(const Copy& a) {
  any_dtype(a.y.dtype(),
            [&](auto to) { any_dtype(a.x.dtype(), [&](auto from) { copy_as<decltype(to), decltype(from)>(a); }); });
}

void fill(const Fill& a) {
  any_dtype(a.y.dtype(), [&](auto v) {
    using T = decltype(v);
    const T value = static_cast<T>(a.value);
    if (a.y.contiguous()) {
      T* y = a.y.device_data<T>();
      return parallel_ranges(a.y.numel(), flat_grain,
                             [&](std::int64_t begin, std::int64_t end) { std::fill(y + begin, y + end, value); });
    }
    const auto [N, C] = a.y.dims<2>();
    const RowPointers<T> ys(a.y);
    parallel_for(N, grain(C), [&, C = C](std::int64_t n) { std::fill_n(ys[n], C, value); });
  });
}

}  // namespace ov::kernels::cpu
