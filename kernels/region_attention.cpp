#include "kernels/region_attention.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {
namespace {

void check_regions(const char* op, const Tensor& q, const Tensor& begin) {
  if (begin.dim(0) != q.dim(0) + 1)
    input_error(op, ": the region table has ", begin.dim(0) - 1, " regions, q has ", q.dim(0));
}

}  // namespace

void region_attention_forward(const RegionAttentionForward& a) {
  check("region_attention_forward", {{"q", a.q, "R H D"},
                                     {"k", a.k, "S H D"},
                                     {"v", a.v, "S H D"},
                                     {"o", a.o, "R H D"},
                                     {"lse", a.lse, "R H:acc"},
                                     {"begin", a.begin, "B:i64"},
                                     {"rows", a.rows, "I:i64"}});
  check_regions("region_attention_forward", a.q, a.begin);
  OV_RUN(a.q, region_attention_forward, a);
}

void region_attention_backward(const RegionAttentionBackward& a) {
  check("region_attention_backward", {{"q", a.q, "R H D"},
                                      {"k", a.k, "S H D"},
                                      {"v", a.v, "S H D"},
                                      {"o", a.o, "R H D"},
                                      {"lse", a.lse, "R H:acc"},
                                      {"d_o", a.d_o, "R H D"},
                                      {"dq", a.dq, "R H D"},
                                      {"dk", a.dk, "S H D"},
                                      {"dv", a.dv, "S H D"},
                                      {"begin", a.begin, "B:i64"},
                                      {"rows", a.rows, "I:i64"}});
  check_regions("region_attention_backward", a.q, a.begin);
  OV_RUN(a.q, region_attention_backward, a);
}

}  // namespace ov::kernels
