#include "kernels/exp_scale.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void exp_scale_forward(const ExpScaleForward& a) {
  check("exp_scale_forward", {{"x", a.x, "N C"}, {"y", a.y, "N C"}, {"s", a.s, ""}});
  OV_RUN(a.x, exp_scale_forward, a);
}

void exp_scale_backward(const ExpScaleBackward& a) {
  check("exp_scale_backward",
        {{"dy", a.dy, "N C"}, {"x", a.x, "N C"}, {"s", a.s, ""}, {"dx", a.dx, "N C?"}, {"ds", a.ds, ":acc?"}});
  OV_RUN(a.dy, exp_scale_backward, a);
}

}  // namespace ov::kernels
