#include "kernels/attention.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {
namespace {

void check_segments(const char* op, const Tensor& q, const Tensor& k, const SegmentTable* segments, bool causal) {
  if (!segments) input_error(op, ": no segment table");
  if (q.dim(1) % k.dim(1) != 0) input_error(op, ": ", q.dim(1), " query heads cannot share ", k.dim(1), " key heads");
  for (std::size_t i = 0; i < segments->size(); ++i) {
    const SegmentRow& r = (*segments)[i];
    const auto wrong = [&](const auto&... why) { input_error(op, ": segment ", i, ": ", why...); };
    if (r.q_begin < 0 || r.q_length < 0 || r.q_begin + r.q_length > q.dim(0))
      wrong("queries outside of ", q.dim(0), " rows");
    if (r.k_begin < 0 || r.k_length < 0 || r.k_begin + r.k_length > k.dim(0))
      wrong("keys outside of ", k.dim(0), " rows");
    if (r.q_length > 0 && r.k_length == 0 && r.prefix < 0) wrong("queries without keys");
    if (causal && r.k_length < r.q_length) wrong("causal, with fewer keys than queries");
    if (r.prefix >= 0) {
      if (!causal) wrong("a prefix is for causal attention");
      if (r.prefix >= static_cast<std::int64_t>(i)) wrong("prefix ", r.prefix, " does not come before it");
      if ((*segments)[static_cast<std::size_t>(r.prefix)].prefix >= 0)
        wrong("its prefix has a prefix; one level is allowed");
    }
  }
}

}  // namespace

void attention_forward(const AttentionForward& a) {
  check(
      "attention_forward",
      {{"q", a.q, "T H D"}, {"k", a.k, "S K D"}, {"v", a.v, "S K D"}, {"o", a.o, "T H D"}, {"lse", a.lse, "T H:acc"}});
  check_segments("attention_forward", a.q, a.k, a.segments, a.causal);
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
                               {"lse", a.lse, "T H:acc"}});
  check_segments("attention_backward", a.q, a.k, a.segments, a.causal);
  OV_RUN(a.q, attention_backward, a);
}

std::int64_t visible_pairs(const SegmentTable& segments, bool causal) {
  std::int64_t pairs = 0;
  for (const SegmentRow& r : segments) {
    if (!causal) {
      pairs += r.q_length * r.k_length;
      continue;
    }
    const std::int64_t prefix = r.prefix < 0 ? 0 : segments[static_cast<std::size_t>(r.prefix)].k_length;
    pairs += r.q_length * (prefix + r.k_length) - r.q_length * (r.q_length - 1) / 2;
  }
  return pairs;
}

}  // namespace ov::kernels
