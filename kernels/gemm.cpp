#include "kernels/gemm.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void gemm(const Gemm& a) {
  // N is the axis that tokens lie along, and may be several: the rows of c and a, or what dw = dy^T x sums over.
  if (a.trans_a)
    check("gemm", {{"a", a.a, "N M"},
                   {"b", a.b, a.trans_b ? Pattern("F N") : Pattern("N F")},
                   {"bias", a.bias, "F?"},
                   {"c", a.c, "M F:out"}});
  else
    check("gemm", {{"a", a.a, "N K"},
                   {"b", a.b, a.trans_b ? Pattern("F K") : Pattern("K F")},
                   {"bias", a.bias, "F?"},
                   {"c", a.c, "N F:out"}});
  OV_RUN(a.c, gemm, a);
}

}  // namespace ov::kernels
