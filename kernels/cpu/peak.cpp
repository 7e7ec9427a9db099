#include "kernels/cpu/peak.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/math.h"
#include "kernels/cpu/gemm_wide.h"

namespace ov::kernels::cpu {
namespace {

using Clock = std::chrono::steady_clock;

// Twelve chains hide the latency of two FMA units (4 to 5 cycles each) and fit in 16 registers.
constexpr int chains = 12;

// Floating-point operations of a call; adds to *sum, so that the loop cannot be left out.
double run_chains(std::int64_t rounds, double* sum) {
  if (wide_vectors()) return run_wide_chains(rounds, sum);
  using L = Lanes<float>;
  const float one = 1.0F, small = 1e-9F;
  const L x = L::broadcast(&one), y = L::broadcast(&small);
  L s[chains];
  for (std::int64_t r = 0; r < rounds; ++r) {
    OV_UNROLL
    for (int i = 0; i < chains; ++i) s[i].add_product(x, y);
  }
  float out[L::width];
  for (const L& v : s) {
    v.store(out);
    *sum += static_cast<double>(out[0]);
  }
  return 2.0 * chains * L::width * static_cast<double>(rounds);
}

// Best rate of this thread over `seconds`.
double best_rate(double seconds) {
  double best = 0, sink = 0;
  std::int64_t rounds = 256;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < end) {
    const auto start = Clock::now();
    const double flops = run_chains(rounds, &sink);
    const double t = std::chrono::duration<double>(Clock::now() - start).count();
    if (t > 0) best = std::max(best, flops / t);
    if (t < 2e-4) rounds *= 2;
  }
  return sink > 0 ? best : 0;  // the sum is used, so that the loop cannot be left out
}

template <class F>
double rate_of(F f) {
  constexpr std::size_t n = 1024;
  float x[n], y[n];
  for (std::size_t i = 0; i < n; ++i) x[i] = -4.0F * static_cast<float>(i) / n;
  double best = 1e9;
  for (int run = 0; run < 100; ++run) {
    const auto start = Clock::now();
    for (std::size_t i = 0; i < n; ++i) y[i] = f(x[i]);
    asm volatile("" : : "r"(y) : "memory");  // somebody may read all of y: nothing can be left out
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best > 0 ? n / best : 0;
}

}  // namespace

double exp_rate() {
  return rate_of([](float x) { return math::exp(x); });
}
double erf_rate() {
  return rate_of([](float x) { return math::erf(x); });
}

double fma_peak_flops(int n) {
  if (n < 1) input_error("fma_peak_flops: expected at least one thread, got ", n);
  static std::mutex mutex;
  static std::map<int, double> known;
  std::lock_guard lock(mutex);
  double& peak = known[n];
  if (peak > 0) return peak;
  std::vector<double> rate(static_cast<std::size_t>(n));
  std::vector<std::thread> others;
  for (std::size_t i = 1; i < rate.size(); ++i) others.emplace_back([&rate, i] { rate[i] = best_rate(0.02); });
  rate[0] = best_rate(0.02);
  for (auto& t : others) t.join();
  for (const double r : rate) peak += r;
  return peak;
}

}  // namespace ov::kernels::cpu
