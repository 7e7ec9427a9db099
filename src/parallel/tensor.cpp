#include "parallel/tensor.h"

#include <algorithm>
#include <numeric>

#include "autograd/ops.h"
#include "nn/lora.h"
#include "parallel/pipeline.h"
#include "tensor/transfer.h"

namespace ov {
namespace {

// Calls f with what `range` has of each trained parameter that is not cut.
template <class F>
void for_uncut(const Parameters& parameters, Range range, F&& f) {
  for (const auto& e : parameters.entries()) {
    if (!e.parameter.trainable || e.cut != Cut::none) continue;
    const std::int64_t begin = std::max(range.begin, e.parameter.gradient),
                       end = std::min(range.end, e.parameter.gradient + e.shape.numel());
    if (begin < end) f(Range{begin, end});
  }
}

}  // namespace

std::int64_t heads_of_rank(const Parameters& set, std::int64_t heads, const char* key) {
  const int ranks = set.tensor().ranks();
  if (heads % ranks != 0) input_error("parallel.tensor ", ranks, ": does not divide ", key, ", which is ", heads);
  return heads / ranks;
}

Var all_rows(const Parameters& set, const Var& x, std::int64_t rows) {
  return set.tensor().ranks() == 1 ? x : gather_rows(x, rows, set.tensor());
}

Var own_rows_of_sum(const Parameters& set, const Var& x) {
  return set.tensor().ranks() == 1 ? x : reduce_rows(x, set.tensor());
}

Var own_rows(const Parameters& set, const Var& x) {
  const std::int64_t n = set.tensor().ranks(), r = set.tensor().rank(), begin = x.dim(0) * r / n,
                     end = x.dim(0) * (r + 1) / n;
  if (n == 1) return x;
  std::vector<std::int64_t> index(static_cast<std::size_t>(end - begin));
  std::iota(index.begin(), index.end(), begin);
  return take_rows(x, Tensor::of(index, {end - begin}, x.value.device()));
}

OwnWords own_words(const Parameters& set, const std::vector<std::int64_t>& ids, std::int64_t V) {
  const std::int64_t first = set.tensor().rank() * V;
  OwnWords own{{}, std::vector<std::int64_t>(ids.size(), -1)};
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids[i] >= first && ids[i] < first + V) {
      own.source[i] = static_cast<std::int64_t>(own.here.size());
      own.here.push_back(ids[i] - first);
    } else if (ids[i] < 0 || ids[i] >= V * set.tensor().ranks()) {
      input_error("input_ids: ", ids[i], " outside of [0, ", V * set.tensor().ranks(), ")");
    }
  return own;
}

Var words_of_rank(const Parameters& set, Tape* tape, const std::vector<std::int64_t>& ids, Parameter& table,
                  Var* lent) {
  const auto T = static_cast<std::int64_t>(ids.size());
  Device& device = table.value.device();
  const OwnWords own = own_words(set, ids, table.value.dim(0));
  const Tensor nothing = Tensor::zeros({T, table.value.dim(1)}, table.value.dtype(), device);
  const Var words =
      rows_of(tape, Tensor::of(own.here, {static_cast<std::int64_t>(own.here.size())}, device), table, lent);
  return splice(tape ? tape->input(nothing) : Var{nothing}, words, Tensor::of(own.source, {T}, device));
}

void sum_addends(const Parameters& parameters, const Tensor& gradients, Range own) {
  if (parameters.tensor().ranks() == 1) return;
  std::int64_t count = 0;
  for_uncut(parameters, own, [&](Range r) { count += r.size(); });
  const Tensor all({count}, gradients.dtype(), gradients.device(), Segment::workspace);  // one call for all of them
  const auto each = [&](auto&& f) {
    std::int64_t at = 0;
    for_uncut(parameters, own, [&](Range r) {
      f(all.slice(0, at, at + r.size()), gradients.slice(0, r.begin - own.begin, r.end - own.begin));
      at += r.size();
    });
  };
  each([](const Tensor& together, const Tensor& gradient) { together.copy_from(gradient); });
  parameters.tensor().all_reduce(all);
  each([](const Tensor& together, const Tensor& gradient) { gradient.copy_from(together); });
}

std::vector<Range> counted_elsewhere(const Parameters& parameters, Range range) {
  std::vector<Range> found;
  if (parameters.tensor().rank() != 0) for_uncut(parameters, range, [&](Range r) { found.push_back(r); });
  return found;
}

}  // namespace ov
