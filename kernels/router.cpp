#include "kernels/router.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void router_forward(const RouterForward& a) {
  check("router_forward", {{"logits", a.logits, "T E"},
                           {"probabilities", a.probabilities, "T E:acc!"},
                           {"weights", a.weights, "T K:acc!"},
                           {"experts", a.experts, "T K:i64!"},
                           {"forced", a.forced, "T K:i64?"}});
  if (a.experts.dim(1) > a.logits.dim(1))
    input_error("router_forward: ", a.experts.dim(1), " experts a token of ", a.logits.dim(1));
  OV_RUN(a.logits, router_forward, a);
}

void router_backward(const RouterBackward& a) {
  check("router_backward", {{"dlogits", a.dlogits, "T E"},
                            {"dprobabilities", a.dprobabilities, "T E:acc?"},
                            {"dweights", a.dweights, "T K:acc?"},
                            {"probabilities", a.probabilities, "T E:acc"},
                            {"experts", a.experts, "T K:i64!"}});
  OV_RUN(a.dlogits, router_backward, a);
}

void load_balance_forward(const LoadBalanceForward& a) {
  check("load_balance_forward",
        {{"probabilities", a.probabilities, "N E"}, {"loss", a.loss, "1"}, {"counts", a.counts, "E:i64"}});
  OV_RUN(a.loss, load_balance_forward, a);
}

void load_balance_backward(const LoadBalanceBackward& a) {
  check("load_balance_backward",
        {{"dprobabilities", a.dprobabilities, "N E"}, {"dloss", a.dloss, "1"}, {"counts", a.counts, "E:i64"}});
  OV_RUN(a.dloss, load_balance_backward, a);
}

}  // namespace ov::kernels
