#include "kernels/region_attention.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {
namespace {

void check_table(const char* op, const RegionTable& table, std::int64_t regions, std::int64_t rows) {
  if (table.regions() != regions)
    input_error(op, ": the region table has ", table.regions(), " regions, q has ", regions);
  for (std::size_t r = 0; r + 1 < table.begin.size(); ++r)
    if (table.begin[r] >= table.begin[r + 1]) input_error(op, ": region ", r, " sees no row");
  if (table.begin.back() != static_cast<std::int64_t>(table.rows.size()))
    input_error(op, ": the region table lists ", table.rows.size(), " rows, its regions end at ", table.begin.back());
  for (std::size_t i = 0; i < table.rows.size(); ++i)
    if (table.rows[i] < 0 || table.rows[i] >= rows)
      input_error(op, ": entry ", i, " of the region table is row ", table.rows[i], ", outside of [0, ", rows, ")");
}

}  // namespace

void region_attention_forward(const RegionAttentionForward& a) {
  check(
      "region_attention_forward",
      {{"q", a.q, "R H D"}, {"k", a.k, "S H D"}, {"v", a.v, "S H D"}, {"o", a.o, "R H D"}, {"lse", a.lse, "R H:acc"}});
  check_table("region_attention_forward", *a.regions, a.q.dim(0), a.k.dim(0));
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
                                      {"dv", a.dv, "S H D"}});
  check_table("region_attention_backward", *a.regions, a.q.dim(0), a.k.dim(0));
  OV_RUN(a.q, region_attention_backward, a);
}

}  // namespace ov::kernels
