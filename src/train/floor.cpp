#include "train/floor.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "autograd/registry.h"
#include "base/parallel.h"
#include "kernels/cpu/gemm.h"

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

}  // namespace

bool Floor::Rate::stale() const { return value == 0 || Clock::now() - measured > std::chrono::seconds(20); }

double Floor::bandwidth() {
  if (!bandwidth_.stale()) return bandwidth_.value;
  std::vector<float> from(bandwidth_elements, 1.0f), to(bandwidth_elements);
  const double seconds = best_seconds(milliseconds(30), [&] { std::copy(from.begin(), from.end(), to.begin()); });
  bandwidth_ = {2.0 * sizeof(float) * bandwidth_elements / seconds, Clock::now()};
  return bandwidth_.value;
}

double Floor::product_seconds(Shape3 mnk, bool trans_a, bool trans_b) {
  const auto size = [&] {
    return static_cast<double>(mnk[0]) * static_cast<double>(mnk[1]) * static_cast<double>(mnk[2]);
  };
  const double exact = size();
  for (std::int64_t& d : mnk)
    if (d > 32) d = (d + 31) / 32 * 32;
  const auto [M, N, K] = mnk;
  const double share = exact / size();  // of the shape that is measured
  Rate& seconds = known_[{mnk, 2 * trans_a + trans_b}];
  if (!seconds.stale()) return seconds.value * share;
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
  seconds = {best_seconds(milliseconds(1), [&] { kernels::cpu::gemm_serial(product); }), Clock::now()};
  return seconds.value * share;
}

OpTimes::Seconds Floor::micro_batch(std::span<const Node> nodes, std::size_t element) {
  const std::lock_guard lock(mutex_);
  OpTimes::Seconds all{};
  for (const Node& n : nodes) {
    double& seconds = all[static_cast<std::size_t>(n.op)];
    if (n.op == Op::linear) {
      const std::int64_t F = n.input_shapes[1][0], C = n.input_shapes[1].numel() / F, N = n.input_shapes[0].numel() / C;
      if (N == 0) continue;
      seconds += product_seconds({N, F, C}, false, true);
      if (n.wanted[0]) seconds += product_seconds({N, C, F}, false, false);
      if (n.wanted[1]) seconds += product_seconds({F, C, N}, true, false);
    } else if (n.op == Op::attention || n.op == Op::region_attention) {
      // Two products of a tile forward, five backward.
      const std::int64_t D = n.input_shapes[0][2], tile = 64;
      const double tiles = static_cast<double>(n.products) / static_cast<double>(2 * tile * tile * D);
      seconds += tiles * 7 * product_seconds({tile, tile, D}, false, true);
    } else if (n.op != Op::split && n.op != Op::view) {
      seconds += 3 * static_cast<double>(bytes(n, element)) / bandwidth();
    }
  }
  return all;
}

double Floor::update(std::int64_t trained, std::int64_t leaves) {
  const std::lock_guard lock(mutex_);
  const double moved =
      static_cast<double>(trained) * sizeof(float) * static_cast<double>(leaves + 3 * (leaves - 1) + 1 + 7);
  return moved / bandwidth() / threads();
}

}  // namespace ov
