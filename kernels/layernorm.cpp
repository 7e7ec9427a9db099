#include "kernels/layernorm.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void layernorm_forward(const LayernormForward& a) {
  check("layernorm_forward", {{"x", a.x, "N C"},
                              {"y", a.y, "N C"},
                              {"w", a.w, "C"},
                              {"b", a.b, "C"},
                              {"mean", a.mean, "N:acc"},
                              {"rstd", a.rstd, "N:acc"}});
  OV_RUN(a.x, layernorm_forward, a);
}

void layernorm_backward(const LayernormBackward& a) {
  check("layernorm_backward", {{"x", a.x, "N C"},
                               {"dy", a.dy, "N C"},
                               {"dx", a.dx, "N C?"},
                               {"w", a.w, "C"},
                               {"dw", a.dw, "C:acc?"},
                               {"db", a.db, "C:acc?"},
                               {"mean", a.mean, "N:acc"},
                               {"rstd", a.rstd, "N:acc"}});
  OV_RUN(a.x, layernorm_backward, a);
}

}  // namespace ov::kernels
