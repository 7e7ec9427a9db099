#include "comm/ordered_sum.h"

#include <bit>

#include "kernels/rows.h"

namespace ov {

void add_to(const Tensor& sum, const Tensor& t) {
  if (!sum.has_data()) return;
  if (sum.dtype() == Dtype::i64) {  // no kernel adds them: they are few, and not in a step's way
    const Tensor here = sum.to(cpu(), Segment::workspace), other = t.to(cpu(), Segment::workspace);
    std::int64_t* to = here.data<std::int64_t>();
    const std::int64_t* from = other.data<std::int64_t>();
    for (std::int64_t i = 0; i < sum.numel(); ++i) to[i] += from[i];
    if (&sum.device() != &cpu()) sum.copy_from(here);
    return;
  }
  // Rows for the kernel's threads, and what is left behind them; addition does not see them.
  constexpr std::int64_t width = 4096;
  const std::int64_t n = sum.numel(), whole = n / width * width;
  const auto add_part = [&](std::int64_t begin, std::int64_t end, const Shape& rows) {
    if (begin == end) return;
    const Tensor to = sum.flat().slice(0, begin, end).view(rows);
    kernels::add({.y = to, .a = to, .b = t.flat().slice(0, begin, end).view(rows)});
  };
  add_part(0, whole, {whole / width, width});
  add_part(whole, n, {1, n - whole});
}

void sum_in_order(std::span<const Tensor> parts) {
  if (parts.size() < 2) return;
  const std::size_t left = std::bit_floor(parts.size() - 1);
  sum_in_order(parts.first(left));
  sum_in_order(parts.subspan(left));
  add_to(parts[0], parts[left]);
}

}  // namespace ov
