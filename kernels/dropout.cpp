#include "kernels/dropout.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void dropout(const Dropout& a) {
  check("dropout", {{"x", a.x, "N C"}, {"y", a.y, "N C"}});
  if (!(a.share >= 0 && a.share <= 1)) input_error("dropout: share is ", a.share, ", expected 0 to 1");
  OV_RUN(a.x, dropout, a);
}

}  // namespace ov::kernels
