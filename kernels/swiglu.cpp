#include "kernels/swiglu.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void swiglu_forward(const SwigluForward& a) {
  check("swiglu_forward", {{"gate", a.gate, "N F"}, {"up", a.up, "N F"}, {"y", a.y, "N F"}});
  OV_RUN(a.gate, swiglu_forward, a);
}

void swiglu_backward(const SwigluBackward& a) {
  check("swiglu_backward", {{"gate", a.gate, "N F"},
                            {"up", a.up, "N F"},
                            {"dy", a.dy, "N F"},
                            {"dgate", a.dgate, "N F?"},
                            {"dup", a.dup, "N F?"}});
  OV_RUN(a.gate, swiglu_backward, a);
}

}  // namespace ov::kernels
