// Attention on the simulated device and on the CPU: the tables of segments that its tests go through.
#pragma once
#include "kernels/attention.h"
#include "kernels/cuda/attention_rows.h"
#include "tests/kernels/cuda_twins.h"
#include "tests/kernels/sim_schedules.h"

namespace ov::test {

using kernels::AttentionBackward;
using kernels::AttentionForward;

struct AttentionCase {
  const char* name;
  kernels::SegmentTable table;
  std::int64_t queries, keys;
  bool causal;
};

// Row 2 of "packed" is empty and some rows belong to no segment; "branches" share a prefix of 70 keys, which a block of
// 64 keys straddles.
inline const std::vector<AttentionCase> attention_cases = {
    {"full", {{0, 67, 0, 67}}, 67, 67, false},
    {"causal", {{0, 131, 0, 131}}, 131, 131, true},
    {"packed", {{3, 17, 0, 17}, {20, 64, 17, 64}, {84, 0, 81, 0}, {84, 1, 81, 1}}, 87, 85, true},
    {"packed, full", {{0, 12, 4, 12}, {12, 1, 16, 1}, {14, 65, 17, 65}}, 80, 82, false},
    {"cached", {{0, 3, 0, 90}, {3, 1, 90, 1}, {4, 2, 91, 129}}, 6, 220, true},
    {"branches", {{0, 70, 0, 70}, {70, 5, 70, 5, 0}, {75, 9, 75, 9}, {84, 33, 84, 33, 0}}, 118, 117, true},
};

struct AttentionResult {
  Tensor o, lse, dq, dk, dv;
};

// q, k and v lie in one fused array [T, H + 2 K, D] when there are as many keys as queries; results are NaN before.
template <class Forward, class Backward>
AttentionResult attend_on(Device& device, Dtype dtype, const AttentionCase& c, std::int64_t H, std::int64_t K,
                          std::int64_t D, Forward&& forward, Backward&& backward, double scale = 0.3) {
  const auto heads = [&](std::int64_t rows, std::int64_t n, unsigned seed) {
    const auto x = Tensor::of(drawn(rows * (n + 1) * D, seed), {rows, n + 1, D}).to(dtype).to(device);
    return x.slice(1, 1, n + 1);  // rows with a gap between them
  };
  const auto empty = [&](std::int64_t rows, std::int64_t n) {
    return Tensor::of(std::vector<float>(static_cast<std::size_t>(rows * n * D), NAN), {rows, n, D})
        .to(dtype)
        .to(device);
  };
  const Tensor q = heads(c.queries, H, 1), k = heads(c.keys, K, 2), v = heads(c.keys, K, 3),
               d_o = heads(c.queries, H, 4);
  const Tensor segments = kernels::Segments(c.table, c.queries, c.keys, c.causal, device).rows;
  AttentionResult r{empty(c.queries, H), unwritten(device, {c.queries, H}), empty(c.queries, H), empty(c.keys, K),
                    empty(c.keys, K)};
  scale /= std::sqrt(static_cast<double>(D));
  forward(AttentionForward{
      .o = r.o, .lse = r.lse, .q = q, .k = k, .v = v, .segments = segments, .causal = c.causal, .scale = scale});
  backward(AttentionBackward{.dq = r.dq,
                             .dk = r.dk,
                             .dv = r.dv,
                             .d_o = d_o,
                             .q = q,
                             .k = k,
                             .v = v,
                             .o = r.o,
                             .lse = r.lse,
                             .segments = segments,
                             .causal = c.causal,
                             .scale = scale});
  return r;
}

inline void check_same(const AttentionResult& got, const AttentionResult& expected) {
  CHECK(same_bits(got.o, expected.o));
  CHECK(same_bits(got.lse, expected.lse));
  CHECK(same_bits(got.dq, expected.dq));
  CHECK(same_bits(got.dk, expected.dk));
  CHECK(same_bits(got.dv, expected.dv));
}

}  // namespace ov::test
