#include "kernels/gelu.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void gelu_forward(const GeluForward& a) {
  check("gelu_forward", {{"x", a.x, "N F"}, {"y", a.y, "N F"}});
  OV_RUN(a.x, gelu_forward, a);
}

void gelu_backward(const GeluBackward& a) {
  check("gelu_backward", {{"x", a.x, "N F"}, {"dy", a.dy, "N F"}, {"dx", a.dx, "N F"}});
  OV_RUN(a.x, gelu_backward, a);
}

}  // namespace ov::kernels
