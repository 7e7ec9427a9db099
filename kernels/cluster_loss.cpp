#include "kernels/cluster_loss.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void cluster_loss_forward(const ClusterLossForward& a) {
  check("cluster_loss_forward", {{"logits", a.logits, "R S"},
                                 {"roles", a.roles, "R S:u8"},
                                 {"weights", a.weights, "R:acc"},
                                 {"lse", a.lse, "R 2:acc"},
                                 {"row_loss", a.row_loss, "R:acc"},
                                 {"loss", a.loss, "1:acc"}});
  OV_RUN(a.logits, cluster_loss_forward, a);
}

void cluster_loss_backward(const ClusterLossBackward& a) {
  check("cluster_loss_backward", {{"logits", a.logits, "R S"},
                                  {"dlogits", a.dlogits, "R S"},
                                  {"roles", a.roles, "R S:u8"},
                                  {"weights", a.weights, "R:acc"},
                                  {"lse", a.lse, "R 2:acc"},
                                  {"dloss", a.dloss, "1:acc"}});
  OV_RUN(a.logits, cluster_loss_backward, a);
}

void cluster_hits(const ClusterHits& a) {
  check("cluster_hits",
        {{"cos", a.cos, "R S"}, {"roles", a.roles, "R S:u8"}, {"k", a.k, "R:i64"}, {"hits", a.hits, "1:f64"}});
  OV_RUN(a.cos, cluster_hits, a);
}

void cluster_above(const ClusterAbove& a) {
  check("cluster_above", {{"cos", a.cos, "R S"},
                          {"value", a.value, "P"},
                          {"roles", a.roles, "R S:u8"},
                          {"row", a.row, "P:i64"},
                          {"column", a.column, "P:i64"},
                          {"above", a.above, "P:i64"}});
  OV_RUN(a.cos, cluster_above, a);
}

}  // namespace ov::kernels
