#include "kernels/adamw.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

std::vector<AdamwRange> ranges_of(const Adamw& a) {
  if (!a.ranges.empty()) return a.ranges;
  return {{0, 0, a.param.numel(), a.lr, a.weight_decay}};
}

void adamw(const Adamw& a) {
  const bool narrow = a.m.dtype() == Dtype::bf16;
  // S: of the gradients and what belongs to them, where ranges say which parameters they are of.
  const bool whole = a.ranges.empty();
  const Pattern state = whole ? Pattern("E:acc") : Pattern("S:acc");
  const Pattern moment = !narrow ? state : whole ? Pattern("E:bf16") : Pattern("S:bf16");
  check("adamw", {{"param", a.param, "E"},
                  {"grad", a.grad, state},
                  {"m", a.m, moment},
                  {"v", a.v, moment},
                  {"master", a.master, whole ? Pattern("E:acc?") : Pattern("S:acc?")},
                  {"clip", a.clip, "1:f64"}});
  for (const AdamwRange& r : a.ranges)
    if (r.count < 0 || r.param < 0 || r.begin < 0 || r.count > a.param.numel() - r.param ||
        r.count > a.grad.numel() - r.begin)
      input_error("adamw: a range of ", r.count, " elements from ", r.param, " of ", a.param.numel(),
                  " parameters and ", r.begin, " of ", a.grad.numel(), " gradients lies outside");
  const bool needed = a.param.dtype() != a.grad.dtype();
  if (needed != static_cast<bool>(a.master))
    input_error("adamw: ", name_of(a.param.dtype()), " parameters ", needed ? "need" : "take no", " master weights");
  if (a.random && !narrow) input_error("adamw: ", name_of(a.m.dtype()), " moments are not rounded by chance");
  OV_RUN(a.param, adamw, a);
}

void squared_sums(const SquaredSums& a) {
  check("squared_sums", {{"x", a.x, "E"}, {"partial", a.partial, "K:f64"}});
  if (a.partial.dim(0) != (a.x.dim(0) + norm_chunk - 1) / norm_chunk)
    input_error("squared_sums: ", a.x.dim(0), " elements need one partial sum for every ", norm_chunk);
  OV_RUN(a.x, squared_sums, a);
}

void clip_factor(const ClipFactor& a) {
  check("clip_factor", {{"partial", a.partial, "K:f64"}, {"norm", a.norm, "1:f64"}, {"clip", a.clip, "1:f64"}});
  OV_RUN(a.partial, clip_factor, a);
}

}  // namespace ov::kernels
