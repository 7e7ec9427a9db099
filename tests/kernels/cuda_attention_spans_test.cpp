// Attention over a cache by spans: the bits of the walk through tiles, whoever asks and whatever lies beside it.
#include <doctest/doctest.h>

#include "kernels/gpu/scratch.h"
#include "tests/devices/sim_device.h"
#include "tests/kernels/cuda_attention.h"
#include "tests/kernels/sim_schedules.h"

using namespace ov;
using namespace ov::test;

namespace {

constexpr std::int64_t H = 4, K = 2, D = 16;

Tensor heads(std::int64_t rows, std::int64_t n, unsigned seed, Device& device, std::int64_t D) {
  return Tensor::of(drawn(rows * n * D, seed), {rows, n, D}).to(Dtype::bf16).to(device);
}

struct Sequence {  // n tokens with all their queries
  Tensor q, k, v;
  explicit Sequence(std::int64_t n, unsigned seed, Device& device = sim_device(), std::int64_t width = D)
      : q(heads(n, H, seed, device, width)),
        k(heads(n, K, seed + 1, device, width)),
        v(heads(n, K, seed + 2, device, width)) {}
  std::int64_t length() const { return q.dim(0); }
};

struct Result {
  Tensor o, lse;
};

Result attend(const Tensor& q, const Tensor& k, const Tensor& v, kernels::SegmentTable table, bool causal = true) {
  Device& device = q.device();
  const std::int64_t T = q.dim(0), D = q.dim(2);
  const Result r{
      Tensor::of(std::vector<float>(static_cast<std::size_t>(T * H * D), NAN), {T, H, D}).to(Dtype::bf16).to(device),
      unwritten(device, {T, H})};
  const Tensor segments = kernels::Segments(std::move(table), T, k.dim(0), causal, device).rows;
  const AttentionForward a{
      .o = r.o, .lse = r.lse, .q = q, .k = k, .v = v, .segments = segments, .causal = causal, .scale = 0.3};
  REQUIRE(fits_tensor_cores(a));
  kernels::attention_forward(a);
  return r;
}

Result in_one(const Sequence& s) { return attend(s.q, s.k, s.v, {{0, s.length(), 0, s.length()}}); }

Tensor joined(const std::vector<Tensor>& parts) {
  std::int64_t rows = 0;
  for (const Tensor& p : parts) rows += p.dim(0);
  const Tensor all({rows, parts[0].dim(1), parts[0].dim(2)}, Dtype::bf16, parts[0].device());
  rows = 0;
  for (const Tensor& p : parts) all.slice(0, rows, rows + p.dim(0)).copy_from(p), rows += p.dim(0);
  return all;
}

// The last `n` queries of each sequence, over their caches, in one call.
struct Asked {
  const Sequence* sequence;
  std::int64_t n;
};
Result over_caches(const std::vector<Asked>& asked) {
  std::vector<Tensor> q, k, v;
  kernels::SegmentTable table;
  std::int64_t queries = 0, keys = 0;
  for (const auto& [s, n] : asked) {
    q.push_back(s->q.slice(0, s->length() - n, s->length())), k.push_back(s->k), v.push_back(s->v);
    table.push_back({queries, n, keys, s->length()});
    queries += n, keys += s->length();
  }
  return attend(joined(q), joined(k), joined(v), std::move(table));
}

void check_rows(const Result& got, std::int64_t at, const Result& all, std::int64_t n) {
  const std::int64_t end = all.o.dim(0);
  CHECK(same_bits(got.o.slice(0, at, at + n), all.o.slice(0, end - n, end)));
  CHECK(same_bits(got.lse.slice(0, at, at + n), all.lse.slice(0, end - n, end)));
}

}  // namespace

TEST_CASE(
    "attention by spans: a token over its cache has the bits that it has in its prompt; beside others; in every thread "
    "order (G-36, G-37, G-38)") {
  // Around the end of a span, several of them, and so short that it is one block of keys.
  const Sequence sequences[] = {Sequence(511, 1), Sequence(512, 4), Sequence(513, 7), Sequence(1100, 10),
                                Sequence(40, 13)};
  std::vector<Asked> each, several;
  std::vector<Result> whole;
  for (const Sequence& s : sequences) each.push_back({&s, 1}), whole.push_back(in_one(s));
  const Result together = over_caches(each);
  for (std::size_t i = 0; i < each.size(); ++i) {
    CAPTURE(i);
    check_rows(together, static_cast<std::int64_t>(i), whole[i], 1);
  }
  check_rows(over_caches({each[3]}), 0, whole[3], 1);
  for (const sim::Schedule s : {sim::Schedule{sim::Order::reverse, 0}, {sim::Order::random, 1}}) {
    const sim::ScheduleScope scope(s);
    check_rows(over_caches({each[2], each[3]}), 1, whole[3], 1);
  }
  // What is asked for beside a chunk of a prompt: by tiles and by spans in one call. 8 queries of two heads on a key
  // head fill a span's 16 rows, 9 do not fit.
  const Result mixed = over_caches({{&sequences[3], 70}, {&sequences[2], 8}, {&sequences[3], 9}, {&sequences[1], 1}});
  check_rows(mixed, 0, whole[3], 70), check_rows(mixed, 70, whole[2], 8);
  check_rows(mixed, 78, whole[3], 9), check_rows(mixed, 87, whole[1], 1);
}

TEST_CASE("attention by spans: at every width, whose columns several warps share, the bits of tiles in every order") {
  for (const std::int64_t width : {16, 32, 64, 128}) {
    const Sequence s(600, 30, sim_device(), width);  // a span of eight steps, and one more
    const Result tiles = over_caches({{&s, 9}});     // more rows than a span has
    sim::for_each_schedule([&] { check_rows(over_caches({{&s, 1}}), 0, tiles, 1); });
  }
}

TEST_CASE("attention by spans: the same bits when everything runs late, and zeros for a query of no row") {
  const auto run = [](Device& device) {
    const Sequence s(600, 20, device);
    return attend(s.q.slice(0, 0, 4), s.k, s.v, {{1, 1, 0, 590}, {2, 1, 590, 10}});
  };
  const Result expected = run(sim_device());
  for (const Tensor& none : {expected.o.slice(0, 0, 1), expected.o.slice(0, 3, 4)})
    for (const float x : none.to(Dtype::f32).to_vector<float>()) CHECK(x == 0);
  for (const auto policy : {SimDevice::Policy::lazy, SimDevice::Policy::random}) {
    SimDevice device(policy, 1);
    const Result r = run(device);
    CHECK(same_bits(r.o, expected.o));
    CHECK(same_bits(r.lse, expected.lse));
  }
}

TEST_CASE("attention by spans: one span after the other is added, so that a far larger score hides what came before") {
  // q·k is the key's number in its first column: span 1 has a score of 40 times the others', span 2 none.
  const std::int64_t n = 1300;
  std::vector<float> k(static_cast<std::size_t>(n * K * D)), v(k.size()), q(static_cast<std::size_t>(H * D));
  for (std::int64_t h = 0; h < H; ++h) q[static_cast<std::size_t>(h * D)] = 1;
  for (std::int64_t j = 0; j < n; ++j)
    for (std::int64_t h = 0; h < K; ++h) {
      k[static_cast<std::size_t>((j * K + h) * D)] = j == 700 ? 512.f : static_cast<float>(j % 7);
      v[static_cast<std::size_t>((j * K + h) * D + 5)] = j == 700 ? 3.f : 1.f;
    }
  const auto on = [&](std::vector<float> x, std::int64_t rows, std::int64_t heads) {
    return Tensor::of(std::move(x), {rows, heads, D}).to(Dtype::bf16).to(sim_device());
  };
  const Result r = attend(on(q, 1, H), on(k, n, K), on(v, n, K), {{0, 1, 0, n}});
  const auto o = r.o.to(Dtype::f32).to_vector<float>();
  for (std::int64_t h = 0; h < H; ++h) CHECK(o[static_cast<std::size_t>(h * D + 5)] == 3);
  for (const float x : r.lse.to_vector<float>()) CHECK(x == doctest::Approx(0.3 * 512));
}
