#include "kernels/cross_entropy.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void cross_entropy_forward(const CrossEntropyForward& a) {
  check("cross_entropy_forward", {{"logits", a.logits, "M V"},
                                  {"targets", a.targets, "M:i64"},
                                  {"weights", a.weights, "M:acc"},
                                  {"lse", a.lse, "M 2:acc!"},
                                  {"token_loss", a.token_loss, "M:acc"},
                                  {"loss", a.loss, "1:acc"}});
  OV_RUN(a.logits, cross_entropy_forward, a);
}

void cross_entropy_backward(const CrossEntropyBackward& a) {
  check("cross_entropy_backward", {{"logits", a.logits, "M V"},
                                   {"dlogits", a.dlogits, "M V"},
                                   {"targets", a.targets, "M:i64"},
                                   {"weights", a.weights, "M:acc"},
                                   {"lse", a.lse, "M 2:acc!"},
                                   {"dloss", a.dloss, "1:acc"}});
  OV_RUN(a.logits, cross_entropy_backward, a);
}

void weighted_mean(const WeightedMean& a) {
  check("weighted_mean", {{"values", a.values, "M:acc"}, {"weights", a.weights, "M"}, {"mean", a.mean, "1"}});
  OV_RUN(a.values, weighted_mean, a);
}

}  // namespace ov::kernels
