// The k nearest rows beside FAISS's flat index and beside our own product of the same shape, which finds nothing.
#include <cstdio>

#include "base/parallel.h"
#include "base/rng.h"
#include "kernels/cpu/gemm.h"
#include "kernels/nearest.h"
#include "tests/bench/bench.h"
#include "tests/bench/torch_peer.h"

namespace {
using namespace ov;
using namespace ov::bench;

// Random directions, as embeddings are.
Tensor directions(std::int64_t rows, std::int64_t C, const char* purpose) {
  const Tensor t({rows, C}, Dtype::f32, cpu());
  parallel_for(rows, [&](std::int64_t r) {
    float* x = t.row<float>(r);
    const Philox random(1, purpose, static_cast<std::uint64_t>(r));
    double squares = 0;
    for (std::int64_t c = 0; c < C; ++c)
      x[c] = random.normal(static_cast<std::uint64_t>(c)), squares += double(x[c]) * x[c];
    for (std::int64_t c = 0; c < C; ++c) x[c] /= static_cast<float>(std::sqrt(squares));
  });
  return t;
}

void run() {
  constexpr std::int64_t N = 4096, M = 16384, k = 10;
  constexpr int rounds = 9;
  std::printf("%lld nearest of %lld rows for %lld, f32, %d threads; medians of %d turns\n", static_cast<long long>(k),
              static_cast<long long>(M), static_cast<long long>(N), threads(), rounds);
  std::printf("%6s | ms: nearest  product    FAISS | product / nearest  FAISS / nearest\n", "width");
  for (const std::int64_t C : {64, 128, 256, 512, 1024}) {
    const Tensor a = directions(N, C, "a"), b = directions(M, C, "b"), s({N, M}, Dtype::f32, cpu());
    const Tensor ids({N, k}, Dtype::i32, cpu()), scores({N, k}, Dtype::f32, cpu());
    const auto search = [&] { kernels::nearest({.ids = ids, .scores = scores, .a = a, .b = b}); };
    const auto product = [&] {
      kernels::cpu::gemm_parallel(kernels::cpu::Product<float>{.M = N,
                                                               .N = M,
                                                               .K = C,
                                                               .a = a.data<float>(),
                                                               .a_row = C,
                                                               .a_col = 1,
                                                               .b = b.data<float>(),
                                                               .b_row = 1,
                                                               .b_col = C,
                                                               .c = s.data<float>(),
                                                               .c_row = M,
                                                               .accumulate = false});
    };
    std::unique_ptr<Peer> faiss;
    if (!faiss_python().empty()) {
      faiss = std::make_unique<Peer>(faiss_python(), "tests/bench/faiss_flat.py", cat(N, "x", M, "x", C, "x", k),
                                     threads(), 1);
      if (faiss->facts.is_null()) {
        std::printf("  %s does not run tests/bench/faiss_flat.py: no peer\n", faiss_python().c_str());
        faiss.reset();
      } else if (C == 64) {
        std::printf("  FAISS %s, %s\n", faiss->facts.at("faiss").as_string().c_str(),
                    faiss->facts.at("options").as_string().c_str());
      }
    }
    std::vector<double> times[3];
    search(), product();
    for (int r = 0; r < rounds; ++r) {
      const auto timed = [&](int which, const auto& work) {
        const double start = seconds();
        work();
        times[which].push_back(seconds() - start);
      };
      timed(0, search), timed(1, product);
      if (faiss) times[2].push_back(faiss->seconds());
    }
    const double ours = summary(times[0]).median, gemm = summary(times[1]).median;
    std::printf("%6lld |     %7.1f  %7.1f", static_cast<long long>(C), 1e3 * ours, 1e3 * gemm);
    if (faiss)
      std::printf("  %7.1f | %17.2f  %15.2f\n", 1e3 * summary(times[2]).median, gemm / ours,
                  summary(times[2]).median / ours);
    else std::printf("        - | %17.2f                -\n", gemm / ours);
    std::fflush(stdout);
  }
}

const Benchmark nearest_benchmark("nearest", run);

}  // namespace
