#include "kernels/gemm.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void gemm(const Gemm& a) {
  check("gemm", {{"a", a.a, a.trans_a ? "K M" : "N K"},
                 {"b", a.b, a.trans_b ? "F K" : "K F"},
                 {"bias", a.bias, "F?"},
                 {"c", a.c, a.trans_a ? "M F" : "N F"}});
  OV_RUN(a.c, gemm, a);
}

}  // namespace ov::kernels
