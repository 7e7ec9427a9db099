#include "kernels/segments.h"

#include <algorithm>

namespace ov::kernels {
namespace {

bool outside(std::int64_t begin, std::int64_t length, std::int64_t end) {
  return begin < 0 || length < 0 || begin > end || length > end - begin;
}

void check_row(const SegmentTable& table, std::size_t i, std::int64_t queries, std::int64_t keys, bool causal) {
  const SegmentRow& r = table[i];
  const auto wrong = [&](const auto&... why) { input_error("segment ", i, ": ", why...); };
  if (outside(r.q_begin, r.q_length, queries)) wrong("queries outside of ", queries, " rows");
  if (outside(r.k_begin, r.k_length, keys)) wrong("keys outside of ", keys, " rows");
  if (r.q_length > 0 && r.k_length == 0 && r.prefix < 0) wrong("queries without keys");
  if (causal && r.k_length < r.q_length) wrong("causal, with fewer keys than queries");
  if (r.prefix < 0) return;
  if (!causal) wrong("a prefix is for causal attention");
  if (r.prefix >= static_cast<std::int64_t>(i)) wrong("prefix ", r.prefix, " does not come before it");
  if (table[static_cast<std::size_t>(r.prefix)].prefix >= 0) wrong("its prefix has a prefix; one level is allowed");
}

// Rows are worked on side by side: a query or a key of two rows would be written by two threads.
void check_apart(const SegmentTable& table, const char* what, std::int64_t SegmentRow::*begin,
                 std::int64_t SegmentRow::*length) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < table.size(); ++i)
    if (table[i].*length > 0) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](auto i, auto j) { return table[i].*begin < table[j].*begin; });
  for (std::size_t n = 1; n < order.size(); ++n) {
    const SegmentRow &a = table[order[n - 1]], &b = table[order[n]];
    if (b.*begin < a.*begin + a.*length)
      input_error("segments ", order[n - 1], " and ", order[n], " share ", what, " from ", b.*begin,
                  " on; expected rows that do not overlap (shared keys are a prefix)");
  }
}

}  // namespace

Segments::Segments(SegmentTable table, std::int64_t queries, std::int64_t keys, bool causal, Device& device)
    : host(std::move(table)), queries(queries), keys(keys), causal(causal), pairs(0) {
  std::vector<std::int64_t> flat;
  for (std::size_t i = 0; i < host.size(); ++i) {
    check_row(host, i, queries, keys, causal);
    const SegmentRow& r = host[i];
    const std::int64_t prefix = r.prefix < 0 ? 0 : host[static_cast<std::size_t>(r.prefix)].k_length;
    pairs += r.q_length * (prefix + r.k_length) - (causal ? r.q_length * (r.q_length - 1) / 2 : 0);
    flat.insert(flat.end(), {r.q_begin, r.q_length, r.k_begin, r.k_length, r.prefix});
  }
  check_apart(host, "queries", &SegmentRow::q_begin, &SegmentRow::q_length);
  check_apart(host, "keys", &SegmentRow::k_begin, &SegmentRow::k_length);
  rows = Tensor::of(flat, {static_cast<std::int64_t>(host.size()), 5}, device);
}

RegionSegments::RegionSegments(RegionTable table, std::int64_t keys, Device& device)
    : host(std::move(table)), keys(keys) {
  const auto listed = static_cast<std::int64_t>(host.rows.size());
  if (host.begin.empty() || host.begin.front() != 0 || host.begin.back() != listed)
    input_error("region table: its regions do not cover the ", listed, " rows that it lists from first to last");
  for (std::size_t r = 0; r + 1 < host.begin.size(); ++r)
    if (host.begin[r] >= host.begin[r + 1]) input_error("region ", r, " sees no row");
  for (std::size_t i = 0; i < host.rows.size(); ++i)
    if (host.rows[i] < 0 || host.rows[i] >= keys)
      input_error("entry ", i, " of the region table is row ", host.rows[i], ", outside of [0, ", keys, ")");
  begin = Tensor::of(host.begin, {host.regions() + 1}, device);
  rows = Tensor::of(host.rows, {listed}, device);
}

}  // namespace ov::kernels
