#include "kernels/experts.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void expert_order(const ExpertOrder& a) {
  check("expert_order", {{"experts", a.experts, "T K:i64!"},
                         {"slots", a.slots, "T K:i64!"},
                         {"tokens", a.tokens, "R:i64"},
                         {"offsets", a.offsets, "O:i64"}});
  if (a.tokens.numel() != a.experts.numel())
    input_error("expert_order: ", a.tokens.numel(), " sorted rows for ", a.experts.numel(), " slots");
  OV_RUN(a.experts, expert_order, a);
}

void expert_counts(const ExpertCounts& a) {
  check("expert_counts", {{"counts", a.counts, "E:i64"}, {"offsets", a.offsets, "O:i64"}});
  if (a.offsets.numel() != a.counts.numel() + 1)
    input_error("expert_counts: ", a.offsets.numel(), " offsets for ", a.counts.numel(), " experts");
  OV_RUN(a.counts, expert_counts, a);
}

void grouped_gemm(const GroupedGemm& a) {
  const std::int64_t experts = a.offsets.numel() - 1;
  const Pattern from = a.trans_a || !a.trans_b ? Pattern("R F") : Pattern("R C");
  const Pattern by = a.trans_a ? Pattern("R C") : Pattern("G C");
  const Pattern to = a.trans_a ? Pattern("G C:out") : a.trans_b ? Pattern("R F:out") : Pattern("R C:out");
  check("grouped_gemm", {{"a", a.a, from}, {"b", a.b, by}, {"c", a.c, to}, {"offsets", a.offsets, "O:i64"}});
  const Tensor &stacked = a.trans_a ? a.c : a.b, &rows = a.trans_b ? a.c : a.a;
  if (a.trans_a && a.trans_b) input_error("grouped_gemm: trans_a and trans_b");
  if (stacked.dim(0) != experts * rows.dim(1))
    input_error("grouped_gemm: ", experts, " matrices of ", rows.dim(1), " rows are not ", stacked.shape().str());
  OV_RUN(a.a, grouped_gemm, a);
}

void combine_forward(const CombineForward& a) {
  check("combine_forward",
        {{"x", a.x, "R C"}, {"y", a.y, "T C"}, {"weights", a.weights, "T K:acc!?"}, {"slots", a.slots, "T K:i64!"}});
  OV_RUN(a.x, combine_forward, a);
}

void combine_backward(const CombineBackward& a) {
  check("combine_backward", {{"dy", a.dy, "T C"},
                             {"dx", a.dx, "R C?"},
                             {"dweights", a.dweights, "T K:acc!?"},
                             {"x", a.x, "R C"},
                             {"weights", a.weights, "T K:acc!"},
                             {"slots", a.slots, "T K:i64!"}});
  OV_RUN(a.dy, combine_backward, a);
}

}  // namespace ov::kernels
