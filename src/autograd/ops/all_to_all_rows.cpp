#include "autograd/ops/all_to_all_rows.h"

#include <numeric>

#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {
namespace {

Parts blocks(const Tensor& rows, const RowCounts& counts) {
  Parts parts;
  std::int64_t at = 0;
  for (const std::int64_t n : counts) {
    parts.push_back(n > 0 ? rows.slice(0, at, at + n) : Tensor());
    at += n;
  }
  return parts;
}

std::int64_t total(const RowCounts& counts) { return std::accumulate(counts.begin(), counts.end(), std::int64_t{0}); }

}  // namespace

Var all_to_all_rows(const Var& x, const RowCounts& go, const RowCounts& come, Communicator& ranks) {
  if (total(go) != x.dim(0)) input_error("all_to_all_rows: ", total(go), " rows to send, x has ", x.dim(0));
  const Tensor y({total(come), x.dim(1)}, x.value.dtype(), x.value.device());
  ranks.all_to_all(blocks(y, come), blocks(x.value, go));

  return record({.op = Op::all_to_all_rows,
                 .inputs = {x},
                 .outputs = {y},
                 .trains = true,
                 .backward = [go, come, &ranks](const Node& n, Grads& d) {
                   const Tensor dy = d.out[0].contiguous() ? d.out[0] : d.out[0].contiguous_copy();
                   const Tensor dx = d.in[0] ? d.in[0] : Tensor(n.input_shapes[0], dy.dtype(), dy.device());
                   ranks.all_to_all(blocks(dx, go), blocks(dy, come));
                 }});
}

extern const OpRow all_to_all_rows_row;
const OpRow all_to_all_rows_row = {
    .op = Op::all_to_all_rows,
    .name = "all_to_all_rows",
    .example = [](Example& e) -> std::vector<Var> {
      // Of several ranks some have nothing for each other.
      const std::int64_t N = e.size(2), C = e.size(3);
      const int n = e.ranks().ranks(), r = e.ranks().rank();
      RowCounts go, come;
      for (int s = 0; s < n; ++s) go.push_back((r + 2 * s + 1) % 3 * N), come.push_back((s + 2 * r + 1) % 3 * N);
      return {gelu(all_to_all_rows(e.input({total(go), C}), go, come, e.ranks()))};
    },
    .tolerance = 1e-8,
    .cost = moved_rows,
};

}  // namespace ov
