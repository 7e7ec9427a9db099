#include "kernels/experts.h"

#include "base/parallel.h"
#include "base/sum.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/grain.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

const std::int64_t* checked(const char* op, const Tensor& index, std::int64_t end) {
  const std::int64_t* i = index.device_data<std::int64_t>();
  for (std::int64_t n = 0; n < index.numel(); ++n)
    if (i[n] < 0 || i[n] >= end) input_error(op, ": index ", n, " is ", i[n], ", outside of [0, ", end, ")");
  return i;
}

template <class T>
void forward(const CombineForward& a) {
  using A = Accum<T>;
  constexpr std::int64_t at_once = 128;  // columns
  const auto [N, C] = a.y.dims<2>();
  const std::int64_t k = a.slots.dim(1);
  const std::int64_t* slots = checked("combine", a.slots, a.x.dim(0));
  const A* weights = a.weights ? a.weights.device_data<A>() : nullptr;
  parallel_for(N, grain(k * C), [&, C = C](std::int64_t t) {
    T* y = a.y.device_row<T>(t);
    for (std::int64_t c0 = 0; c0 < C; c0 += at_once) {
      const std::int64_t width = std::min(at_once, C - c0);
      A s[at_once] = {};
      for (std::int64_t j = 0; j < k; ++j) {
        const T* x = a.x.device_row<T>(slots[t * k + j]) + c0;
        const A w = weights ? weights[t * k + j] : A(1);
        for (std::int64_t c = 0; c < width; ++c) s[c] += w * x[c];
      }
      for (std::int64_t c = 0; c < width; ++c) y[c0 + c] = T(s[c]);
    }
  });
}

template <class T>
void backward(const CombineBackward& a) {
  using A = Accum<T>;
  const auto [N, C] = a.dy.dims<2>();
  const std::int64_t k = a.slots.dim(1);
  const std::int64_t* slots = checked("combine", a.slots, a.x.dim(0));
  const A* weights = a.weights.device_data<A>();
  parallel_for(N, grain(k * C), [&, C = C](std::int64_t t) {
    const T* dy = a.dy.device_row<T>(t);
    for (std::int64_t i = t * k; i < (t + 1) * k; ++i) {
      if (a.dweights) a.dweights.device_data<A>()[i] = dot<A>(C, dy, a.x.device_row<T>(slots[i]));
      if (!a.dx) continue;
      T* dx = a.dx.device_row<T>(slots[i]);
      for (std::int64_t c = 0; c < C; ++c) dx[c] = T(weights[i] * dy[c]);
    }
  });
}

}  // namespace

void expert_order(const ExpertOrder& a) {
  const std::int64_t experts = a.offsets.numel() - 1, R = a.tokens.numel();
  const std::int64_t* expert = checked("expert_order", a.experts, experts);
  std::int64_t *tokens = a.tokens.device_data<std::int64_t>(), *slots = a.slots.device_data<std::int64_t>(),
               *offsets = a.offsets.device_data<std::int64_t>();
  std::fill_n(offsets, experts + 1, 0);
  for (std::int64_t i = 0; i < R; ++i) ++offsets[expert[i]];
  for (std::int64_t e = experts, end = R; e >= 0; --e) offsets[e] = end -= offsets[e];  // where each begins
  for (std::int64_t i = 0; i < R; ++i) slots[i] = offsets[expert[i]]++, tokens[slots[i]] = i / a.experts.dim(1);
  for (std::int64_t e = experts; e > 0; --e) offsets[e] = offsets[e - 1];  // each stands at its end now
  offsets[0] = 0;
}

void expert_counts(const ExpertCounts& a) {
  const std::int64_t* offsets = a.offsets.device_data<std::int64_t>();
  std::int64_t* counts = a.counts.device_data<std::int64_t>();
  for (std::int64_t e = 0; e < a.counts.numel(); ++e) counts[e] += offsets[e + 1] - offsets[e];
}

void grouped_gemm(const GroupedGemm& g) {
  const std::int64_t* offsets = g.offsets.device_data<std::int64_t>();
  const std::int64_t experts = g.offsets.numel() - 1;
  parallel_for(experts, [&](std::int64_t e) {
    if (offsets[e] == offsets[e + 1] && (!g.trans_a || g.accumulate)) return;
    const auto rows = [&](const Tensor& t) { return t.slice(0, offsets[e], offsets[e + 1]); };
    const auto matrix = [&](const Tensor& t) {
      const std::int64_t n = t.dim(0) / experts;
      return t.slice(0, e * n, (e + 1) * n);
    };
    gemm({.c = g.trans_a ? matrix(g.c) : rows(g.c),
          .a = rows(g.a),
          .b = g.trans_a ? rows(g.b) : matrix(g.b),
          .trans_a = g.trans_a,
          .trans_b = g.trans_b,
          .accumulate = g.accumulate});
  });
}

void combine_forward(const CombineForward& a) {
  by_dtype(a.x.dtype(), [&](auto v) { forward<decltype(v)>(a); });
}

void combine_backward(const CombineBackward& a) {
  by_dtype(a.dy.dtype(), [&](auto v) { backward<decltype(v)>(a); });
}

}  // namespace ov::kernels::cpu
