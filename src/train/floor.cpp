#include "train/floor.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "autograd/registry.h"
#include "base/parallel.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/peak.h"

namespace ov {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

template <class F>
double best_seconds(std::chrono::milliseconds span, F&& f) {
  double best = 1e9;
  const auto until = Clock::now() + span;
  for (int runs = 0; runs < 3 || Clock::now() < until; ++runs) {
    const auto start = Clock::now();
    f();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

constexpr std::int64_t bandwidth_elements = 1 << 20;  // f32: 4 MB, as a small model's parameters

double copy_bandwidth() {
  std::vector<float> from(bandwidth_elements, 1.0f), to(bandwidth_elements);
  const double seconds = best_seconds(milliseconds(30), [&] {
    std::copy(from.begin(), from.end(), to.begin());
    asm volatile("" : : "r"(to.data()) : "memory");  // somebody may read all of it: no copy can be left out
  });
  return 2.0 * sizeof(float) * bandwidth_elements / seconds;
}

double gemm_seconds(std::array<std::int64_t, 3> mnk, bool trans_a, bool trans_b) {
  const auto [M, N, K] = mnk;
  const std::vector<float> a(static_cast<std::size_t>(M * K), 0.5f), b(static_cast<std::size_t>(K * N), 0.25f);
  std::vector<float> c(static_cast<std::size_t>(M * N));
  const kernels::cpu::Product<float> product{.M = M,
                                             .N = N,
                                             .K = K,
                                             .a = a.data(),
                                             .a_row = trans_a ? 1 : K,
                                             .a_col = trans_a ? M : 1,
                                             .b = b.data(),
                                             .b_row = trans_b ? 1 : N,
                                             .b_col = trans_b ? K : 1,
                                             .c = c.data(),
                                             .c_row = N};
  return best_seconds(milliseconds(1), [&] { kernels::cpu::gemm_serial(product); });
}

}  // namespace

Machine measured_machine() { return {gemm_seconds, copy_bandwidth, kernels::cpu::exp_rate, kernels::cpu::erf_rate}; }

bool Floor::Rate::older_than(std::chrono::seconds age, Clock::time_point now) const {
  return value == 0 || now - measured > age;
}

double Floor::fresh(Rate& rate, const std::function<double()>& measure) {
  if (rate.older_than(rate_age, now_)) rate = {measure(), Clock::now()};
  return rate.value;
}

double Floor::product_seconds(const Product& p) {
  if (p.multiply_adds == 0) return 0;
  Shape3 mnk{p.m, p.n, p.k};
  const auto round = [](std::int64_t& d) { d = d > 32 ? (d + 31) / 32 * 32 : d; };
  for (std::int64_t& d : mnk) round(d);
  while (mnk[0] * mnk[1] * mnk[2] > std::int64_t{1} << 28) {
    std::int64_t& longest = *std::max_element(mnk.begin(), mnk.end());
    round(longest /= 2);
  }
  const auto [M, N, K] = mnk;
  // Of the shape that is measured.
  const double share =
      static_cast<double>(p.multiply_adds) / (static_cast<double>(M) * static_cast<double>(N) * static_cast<double>(K));
  Rate& seconds = known_[{mnk, 2 * p.trans_a + p.trans_b}];
  if (seconds.older_than(product_age, now_))
    seconds = {machine_.product_seconds(mnk, p.trans_a, p.trans_b), Clock::now()};
  return seconds.value * share;
}

Floor::Leaf Floor::leaf(std::span<const OpTimes::Done> done) {
  const std::lock_guard lock(mutex_);
  now_ = Clock::now();
  Leaf all;
  for (const OpTimes::Done& d : done) {
    const auto [op, pass] = std::pair{d.op, d.pass};
    const Cost& cost = d.cost;
    double products = 0;
    for (const Product& p : cost.products)
      if ((p.pass == Pass::forward) == (pass == Pass::forward)) products += product_seconds(p);
    const bool forward = pass == Pass::forward, any = cost.products[0].multiply_adds > 0;
    const FunctionCounts values = forward ? cost.forward_values : cost.backward_values;
    double functions = 0;
    if (values.exp > 0) functions += static_cast<double>(values.exp) / fresh(exp_, machine_.exp_rate);
    if (values.erf > 0) functions += static_cast<double>(values.erf) / fresh(erf_, machine_.erf_rate);
    const double moved = static_cast<double>(forward ? cost.forward_bytes : cost.backward_bytes) / bandwidth();
    all.floor[static_cast<std::size_t>(op)] += any ? products + functions : std::max(moved, functions);
    all.plain[static_cast<std::size_t>(op)] += any ? products : moved;
  }
  return all;
}

double update_bytes(std::int64_t trained, std::int64_t leaves, std::size_t moment_bytes) {
  const double buffers = sizeof(float) * static_cast<double>(leaves + 3 * (leaves - 1) + 1 + 3);
  return static_cast<double>(trained) * (buffers + 4 * static_cast<double>(moment_bytes));
}

double Floor::update(std::int64_t trained, std::int64_t leaves, std::size_t moment_bytes) {
  const std::lock_guard lock(mutex_);
  now_ = Clock::now();
  return update_bytes(trained, leaves, moment_bytes) / bandwidth() / threads();
}

}  // namespace ov
