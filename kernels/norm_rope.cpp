#include "kernels/norm_rope.h"

#include "kernels/check.h"
#include "kernels/rope.h"
#include "kernels/table.h"

namespace ov::kernels {

void norm_rope_forward(const NormRopeForward& a) {
  check("norm_rope_forward", {{"x", a.x, "T H D"},
                              {"y", a.y, "T H D"},
                              {"w", a.w, "D"},
                              {"rstd", a.rstd, "T H:acc!"},
                              {"cos", a.cos, "T R:acc"},
                              {"sin", a.sin, "T R:acc"}});
  check_rope_table("norm_rope_forward", a.x, a.cos);
  OV_RUN(a.x, norm_rope_forward, a);
}

void norm_rope_backward(const NormRopeBackward& a) {
  check("norm_rope_backward", {{"x", a.x, "T H D"},
                               {"dy", a.dy, "T H D"},
                               {"dx", a.dx, "T H D?"},
                               {"w", a.w, "D"},
                               {"dw", a.dw, "D:acc?"},
                               {"rstd", a.rstd, "T H:acc!"},
                               {"cos", a.cos, "T R:acc"},
                               {"sin", a.sin, "T R:acc"}});
  check_rope_table("norm_rope_backward", a.x, a.cos);
  OV_RUN(a.x, norm_rope_backward, a);
}

}  // namespace ov::kernels
