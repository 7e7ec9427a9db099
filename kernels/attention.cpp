#include "kernels/attention.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {
namespace {

void check_heads(const char* op, const Tensor& q, const Tensor& k) {
  if (q.dim(1) < 1 || k.dim(1) < 1 || q.dim(1) % k.dim(1) != 0)
    input_error(op, ": ", q.dim(1), " query heads cannot share ", k.dim(1), " key heads");
}

}  // namespace

void attention_forward(const AttentionForward& a) {
  check("attention_forward", {{"q", a.q, "T H D"},
                              {"k", a.k, "S K D"},
                              {"v", a.v, "S K D"},
                              {"o", a.o, "T H D"},
                              {"lse", a.lse, "T H:acc"},
                              {"segments", a.segments, "R 5:i64!"}});
  check_heads("attention_forward", a.q, a.k);
  OV_RUN(a.q, attention_forward, a);
}

void attention_backward(const AttentionBackward& a) {
  check("attention_backward", {{"q", a.q, "T H D"},
                               {"k", a.k, "S K D"},
                               {"v", a.v, "S K D"},
                               {"o", a.o, "T H D"},
                               {"do", a.d_o, "T H D"},
                               {"dq", a.dq, "T H D"},
                               {"dk", a.dk, "S K D"},
                               {"dv", a.dv, "S K D"},
                               {"lse", a.lse, "T H:acc"},
                               {"segments", a.segments, "R 5:i64!"}});
  check_heads("attention_backward", a.q, a.k);
  OV_RUN(a.q, attention_backward, a);
}

}  // namespace ov::kernels
