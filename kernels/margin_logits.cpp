#include "kernels/margin_logits.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void margin_logits_forward(const MarginLogitsForward& a) {
  check("margin_logits_forward", {{"cos", a.cos, "R S"}, {"z", a.z, "R S"}, {"roles", a.roles, "R S:u8"}});
  OV_RUN(a.cos, margin_logits_forward, a);
}

void margin_logits_backward(const MarginLogitsBackward& a) {
  check("margin_logits_backward",
        {{"dz", a.dz, "R S"}, {"dcos", a.dcos, "R S"}, {"cos", a.cos, "R S"}, {"roles", a.roles, "R S:u8"}});
  OV_RUN(a.dz, margin_logits_backward, a);
}

}  // namespace ov::kernels
