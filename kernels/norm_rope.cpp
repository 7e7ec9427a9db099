#include "kernels/norm_rope.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {
namespace {

void check_halves(const char* op, const Tensor& x, const Tensor& cos) {
  if (x.dim(-1) != 2 * cos.dim(-1))
    input_error(op, ": x is ", x.shape().str(), ", so cos needs ", x.dim(-1) / 2, " columns, got ", cos.shape().str());
}

}  // namespace

void norm_rope_forward(const NormRopeForward& a) {
  check("norm_rope_forward", {{"x", a.x, "T H D"},
                              {"y", a.y, "T H D"},
                              {"w", a.w, "D"},
                              {"rstd", a.rstd, "T H:acc!"},
                              {"cos", a.cos, "T R:acc"},
                              {"sin", a.sin, "T R:acc"}});
  check_halves("norm_rope_forward", a.x, a.cos);
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
  check_halves("norm_rope_backward", a.x, a.cos);
  OV_RUN(a.x, norm_rope_backward, a);
}

}  // namespace ov::kernels
