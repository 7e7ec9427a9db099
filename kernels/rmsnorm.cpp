#include "kernels/rmsnorm.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void rmsnorm_forward(const RmsnormForward& a) {
  check("rmsnorm_forward", {{"x", a.x, "N C"}, {"y", a.y, "N C"}, {"w", a.w, "C"}, {"rstd", a.rstd, "N:acc"}});
  OV_RUN(a.x, rmsnorm_forward, a);
}

void rmsnorm_backward(const RmsnormBackward& a) {
  check("rmsnorm_backward", {{"x", a.x, "N C"},
                             {"dy", a.dy, "N C"},
                             {"dx", a.dx, "N C?"},
                             {"w", a.w, "C"},
                             {"dw", a.dw, "C:acc?"},
                             {"rstd", a.rstd, "N:acc"}});
  OV_RUN(a.x, rmsnorm_backward, a);
}

}  // namespace ov::kernels
