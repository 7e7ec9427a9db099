#include "comm/ordered_sum.h"

#include <bit>

#include "kernels/rows.h"
#include "tensor/transfer.h"

namespace ov {

namespace {

void add(const Tensor& sum, const Tensor& a, const Tensor& b) {
  if (!sum.has_data()) return;
  if (sum.dtype() == Dtype::i64) {  // no kernel adds them: they are few, and not in a step's way
    const auto here = [](const Tensor& t) { return t.to(cpu(), Segment::workspace); };
    const Tensor whole = here(sum), left = here(a), right = here(b);
    for (std::int64_t i = 0; i < sum.numel(); ++i)
      whole.data<std::int64_t>()[i] = left.data<std::int64_t>()[i] + right.data<std::int64_t>()[i];
    if (&sum.device() != &cpu()) sum.copy_from(whole);
    return;
  }
  // Rows for the kernel's threads, and what is left behind them; addition does not see them.
  constexpr std::int64_t width = 4096;
  const std::int64_t n = sum.numel(), whole = n / width * width;
  const auto add_part = [&](std::int64_t begin, std::int64_t end, const Shape& rows) {
    if (begin == end) return;
    const auto part = [&](const Tensor& t) { return t.flat().slice(0, begin, end).view(rows); };
    kernels::add({.y = part(sum), .a = part(a), .b = part(b)});
  };
  add_part(0, whole, {whole / width, width});
  add_part(whole, n, {1, n - whole});
}

// Where the sum of the tree stands: in `sum` if that is given, else in the first part that may be used up.
Tensor tree(std::span<const Tensor> parts, const Tensor& sum, const Tensor& kept) {
  if (parts.size() == 1) return parts[0];
  const std::size_t half = std::bit_floor(parts.size() - 1);
  const Tensor a = tree(parts.first(half), {}, kept), b = tree(parts.subspan(half), {}, kept);
  const Tensor to = sum ? sum : kept && same_memory(a, kept) ? b : a;
  add(to, a, b);
  return to;
}

}  // namespace

void add_to(const Tensor& sum, const Tensor& t) { add(sum, sum, t); }

void sum_in_order(std::span<const Tensor> parts) {
  if (parts.size() > 1) tree(parts, parts[0], {});
}

void sum_in_order(std::span<const Tensor> parts, const Tensor& sum, const Tensor& kept) {
  if (const Tensor t = tree(parts, sum, kept); !same_memory(t, sum)) sum.copy_from(t);
}

}  // namespace ov
