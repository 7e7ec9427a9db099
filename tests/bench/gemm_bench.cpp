// The CPU matrix product beside OpenBLAS, both on all threads: square products and the shapes of the tiny model.
#include <cblas.h>

#include <cstdio>
#include <cstdlib>

#include "base/parallel.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/peak.h"
#include "tests/bench/bench.h"

namespace {
using namespace ov;
using namespace ov::bench;
using kernels::cpu::Product;

struct Case {
  const char* what;
  std::int64_t M, N, K;
  bool trans_a, trans_b, accumulate;
};

const Case cases[] = {
    {"square", 256, 256, 256, false, false, false},          {"square", 512, 512, 512, false, false, false},
    {"square", 1024, 1024, 1024, false, false, false},       {"square NT", 1024, 1024, 1024, false, true, false},
    {"square TN", 1024, 1024, 1024, true, false, true},      {"patch embedding", 300, 96, 588, false, true, false},
    {"tower qkv", 300, 288, 96, false, true, false},         {"tower out", 300, 96, 96, false, true, false},
    {"tower fc1", 300, 384, 96, false, true, false},         {"tower fc2", 300, 96, 384, false, true, false},
    {"merger fc1", 75, 384, 384, false, true, false},        {"merger fc2", 75, 128, 384, false, true, false},
    {"decoder qkv", 180, 256, 128, false, true, false},      {"decoder out", 180, 128, 128, false, true, false},
    {"decoder gate|up", 180, 512, 128, false, true, false},  {"decoder down", 180, 128, 256, false, true, false},
    {"lm head", 180, 278, 128, false, true, false},          {"lm head", 180, 1024, 128, false, true, false},
    {"tower qkv dx", 300, 96, 288, false, false, false},     {"tower fc1 dx", 300, 96, 384, false, false, false},
    {"gate|up dx", 180, 128, 512, false, false, false},      {"lm head dx", 180, 128, 1024, false, false, false},
    {"patch embedding dw", 96, 588, 300, true, false, true}, {"tower qkv dw", 288, 96, 300, true, false, true},
    {"tower fc1 dw", 384, 96, 300, true, false, true},       {"tower fc2 dw", 96, 384, 300, true, false, true},
    {"gate|up dw", 512, 128, 180, true, false, true},        {"lm head dw", 1024, 128, 180, true, false, true},
    {"one token", 1, 512, 128, false, true, false},          {"one token", 1, 4096, 1024, false, true, false},
    {"attention block", 64, 64, 32, false, true, false},
};

std::vector<float> ramp(std::int64_t n, float scale) {
  std::vector<float> v(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = scale * static_cast<float>(static_cast<int>(i * 37 % 101) - 50);
  return v;
}

void run() {
  const double peak = kernels::cpu::fma_peak_flops(threads());
  openblas_set_num_threads(threads());
  std::printf("gemm, f32, %d threads, FMA peak %.0f GFLOP/s; peer: OpenBLAS, core %s%s\n", threads(), peak * 1e-9,
              openblas_get_corename(),
              std::getenv("OPENBLAS_CORETYPE") ? " (forced by OPENBLAS_CORETYPE: not a fair peer)" : "");
  std::printf("%-20s %5s %5s %5s  op | median: ours  peer ratio | best: ours  peer ratio | of peak\n", "what", "M", "N",
              "K");
  for (const Case& s : cases) {
    const std::vector<float> a = ramp(s.M * s.K, 1e-2F), b = ramp(s.K * s.N, 1e-3F);
    std::vector<float> c = ramp(s.M * s.N, 0), d = c;
    const Product<float> p{.M = s.M,
                           .N = s.N,
                           .K = s.K,
                           .a = a.data(),
                           .a_row = s.trans_a ? 1 : s.K,
                           .a_col = s.trans_a ? s.M : 1,
                           .b = b.data(),
                           .b_row = s.trans_b ? 1 : s.N,
                           .b_col = s.trans_b ? s.K : 1,
                           .c = c.data(),
                           .c_row = s.N,
                           .accumulate = s.accumulate};
    const auto peer = [&] {
      cblas_sgemm(CblasRowMajor, s.trans_a ? CblasTrans : CblasNoTrans, s.trans_b ? CblasTrans : CblasNoTrans,
                  static_cast<int>(s.M), static_cast<int>(s.N), static_cast<int>(s.K), 1, a.data(),
                  static_cast<int>(s.trans_a ? s.M : s.K), b.data(), static_cast<int>(s.trans_b ? s.K : s.N),
                  s.accumulate ? 1.0F : 0.0F, d.data(), static_cast<int>(s.N));
    };
    const auto t = interleaved({[&] { kernels::cpu::gemm_parallel(p); }, peer});
    const double flop = 2e-9 * static_cast<double>(s.M * s.N) * static_cast<double>(s.K);
    std::printf("%-20s %5d %5d %5d %c%c%s | %12.1f %5.1f %5.2f | %10.1f %5.1f %5.2f | %5.0f %%\n", s.what,
                static_cast<int>(s.M), static_cast<int>(s.N), static_cast<int>(s.K), s.trans_a ? 'T' : 'N',
                s.trans_b ? 'T' : 'N', s.accumulate ? "+" : " ", flop / t[0].median, flop / t[1].median,
                t[1].median / t[0].median, flop / t[0].best, flop / t[1].best, t[1].best / t[0].best,
                100e9 * flop / t[0].best / peak);
    std::fflush(stdout);
  }
}

const Benchmark gemm_benchmark("gemm", run);

void run_regions() {
  std::printf("parallel region, %d threads: ", threads());
  const auto t = interleaved({[] {
    for (int i = 0; i < 100; ++i) parallel_for(threads(), [](std::int64_t) {});
  }});
  std::printf("median %.2f us, best %.2f us\n", 1e4 * t[0].median, 1e4 * t[0].best);
}

const Benchmark region_benchmark("region", run_regions);

}  // namespace
