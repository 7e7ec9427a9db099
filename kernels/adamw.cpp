#include "kernels/adamw.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void adamw(const Adamw& a) {
  check("adamw", {{"param", a.param, "E"},
                  {"grad", a.grad, "E:acc"},
                  {"m", a.m, "E:acc"},
                  {"v", a.v, "E:acc"},
                  {"master", a.master, "E:acc?"},
                  {"clip", a.clip, "1:f64"}});
  const bool needed = a.param.dtype() != a.grad.dtype();
  if (needed != static_cast<bool>(a.master))
    input_error("adamw: ", name_of(a.param.dtype()), " parameters ", needed ? "need" : "take no", " master weights");
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
