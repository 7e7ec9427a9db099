#include "kernels/l2_normalize.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void l2_normalize_forward(const L2NormalizeForward& a) {
  check("l2_normalize_forward", {{"x", a.x, "N C"}, {"y", a.y, "N C"}, {"rnorm", a.rnorm, "N:acc"}});
  OV_RUN(a.x, l2_normalize_forward, a);
}

void l2_normalize_backward(const L2NormalizeBackward& a) {
  check("l2_normalize_backward",
        {{"dy", a.dy, "N C"}, {"dx", a.dx, "N C"}, {"y", a.y, "N C"}, {"rnorm", a.rnorm, "N:acc"}});
  OV_RUN(a.dy, l2_normalize_backward, a);
}

}  // namespace ov::kernels
