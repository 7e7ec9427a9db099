#include "kernels/add_rmsnorm.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void add_rmsnorm_forward(const AddRmsnormForward& a) {
  check("add_rmsnorm_forward", {{"a", a.a, "N C"},
                                {"b", a.b, "N C"},
                                {"h", a.h, "N C"},
                                {"y", a.y, "N C"},
                                {"w", a.w, "C"},
                                {"rstd", a.rstd, "N:acc"}});
  OV_RUN(a.a, add_rmsnorm_forward, a);
}

void add_rmsnorm_backward(const AddRmsnormBackward& a) {
  check("add_rmsnorm_backward", {{"h", a.h, "N C"},
                                 {"dy", a.dy, "N C"},
                                 {"dh", a.dh, "N C:out"},
                                 {"dx", a.dx, "N C:acc"},
                                 {"w", a.w, "C"},
                                 {"rstd", a.rstd, "N:acc"}});
  OV_RUN(a.h, add_rmsnorm_backward, a);
}

}  // namespace ov::kernels
