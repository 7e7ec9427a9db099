#include "kernels/adamw.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void adamw(const Adamw& a) {
  check("adamw", {{"param", a.param, "E"}, {"grad", a.grad, "E"}, {"m", a.m, "E"}, {"v", a.v, "E"}});
  OV_RUN(a.param, adamw, a);
}

void squared_sums(const SquaredSums& a) {
  check("squared_sums", {{"x", a.x, "E"}, {"partial", a.partial, "K:f64"}});
  if (a.partial.dim(0) != (a.x.dim(0) + norm_chunk - 1) / norm_chunk)
    input_error("squared_sums: ", a.x.dim(0), " elements need one partial sum for every ", norm_chunk);
  OV_RUN(a.x, squared_sums, a);
}

}  // namespace ov::kernels
