// A few rows times weights that no cache holds, as when answers are generated: how near each number of rows comes to
// the rate at which the weights can be read, with the weights as they lie in a checkpoint [F,C] and packed once in the
// tile's panels. Both give the bits of one large product: the sum over C of an element is one chain of fused
// multiply-adds a block, whatever stands beside it.
#include <cblas.h>

#include <cstdio>
#include <cstring>
#include <memory>

#include "base/parallel.h"
#include "base/sum.h"
#include "kernels/cpu/gemm.h"
#include "kernels/gemm.h"
#include "tests/bench/bench.h"

namespace {
using namespace ov;
using namespace ov::bench;
using kernels::cpu::Product;

constexpr std::int64_t F = 4096, C = 2560, matrices = 8;  // a decoder's product of the 4B model; 8 of them are 336 MB
constexpr std::int64_t panel = 16;                        // columns of a tile: two vectors of f32

void run() {
  const std::int64_t size = F * C;
  std::vector<float> weights(static_cast<std::size_t>(matrices * size)), packed(weights.size());
  parallel_for(matrices, [&](std::int64_t m) {
    for (std::int64_t i = m * size; i < (m + 1) * size; ++i)
      weights[static_cast<std::size_t>(i)] = 1e-3F * static_cast<float>(i * 37 % 101 - 50);
    for (std::int64_t f = 0; f < F; f += panel)
      for (std::int64_t c = 0; c < C; ++c)
        for (std::int64_t j = 0; j < panel; ++j)
          packed[static_cast<std::size_t>(m * size + f * C + c * panel + j)] =
              weights[static_cast<std::size_t>(m * size + (f + j) * C + c)];
  });
  openblas_set_num_threads(threads());
  std::int64_t turn = 0;
  std::vector<Tensor> matrix, narrow;
  for (std::int64_t m = 0; m < matrices; ++m) {
    matrix.push_back(Tensor::borrowed(weights.data() + m * size, {F, C}, Dtype::f32, std::make_shared<int>()));
    narrow.push_back(matrix.back().to(Dtype::bf16));
  }
  const auto next = [&](const std::vector<float>& w) { return w.data() + turn++ % matrices * size; };

  std::vector<double> partial(static_cast<std::size_t>(threads()));
  volatile double sink = 0;
  const auto read_all = [&] {
    const float* w = next(weights);
    parallel_for(threads(), [&](std::int64_t t) {
      const std::int64_t n = size / threads();
      partial[static_cast<std::size_t>(t)] = sum<float>(n, [&](std::int64_t i) { return w[t * n + i]; });
    });
    sink = sink + partial[0];
  };
  std::printf("rows times [%d,%d] weights that no cache holds, f32, %d threads; GB/s of weights read, medians\n",
              static_cast<int>(F), static_cast<int>(C), threads());
  std::printf("%5s %12s %12s %12s %12s %12s %6s\n", "rows", "only read", "as stored", "in panels", "bf16", "OpenBLAS",
              "bits");
  for (const std::int64_t M : {1, 2, 4, 6, 8, 16, 32, 64}) {
    std::vector<float> a(static_cast<std::size_t>(M * C)), d(static_cast<std::size_t>(M * F)), e(d.size());
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = 1e-2F * static_cast<float>(static_cast<int>(i * 53 % 89) - 44);
    const Tensor row_tensor = Tensor::of(a, {M, C}), narrow_rows = row_tensor.to(Dtype::bf16);
    const Tensor f32({M, F}, Dtype::f32, cpu()), bf16({M, F}, Dtype::bf16, cpu());
    const auto stored = [&](const Tensor& w) { kernels::gemm({.c = f32, .a = row_tensor, .b = w, .trans_b = true}); };
    const auto in_bf16 = [&](const Tensor& w) {
      kernels::gemm({.c = bf16, .a = narrow_rows, .b = w, .trans_b = true});
    };
    const auto panels = [&](const float* w, float* out) {
      parallel_for(F / panel, [&](std::int64_t p) {
        kernels::cpu::gemm_serial(Product<float>{.M = M,
                                                 .N = panel,
                                                 .K = C,
                                                 .a = a.data(),
                                                 .a_row = C,
                                                 .a_col = 1,
                                                 .b = w + p * panel * C,
                                                 .b_row = panel,
                                                 .b_col = 1,
                                                 .c = out + p * panel,
                                                 .c_row = F,
                                                 .accumulate = false});
      });
    };
    const auto peer = [&] {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(M), static_cast<int>(F),
                  static_cast<int>(C), 1, a.data(), static_cast<int>(C), next(weights), static_cast<int>(C), 0,
                  e.data(), static_cast<int>(F));
    };
    stored(matrix[0]);
    panels(packed.data(), d.data());
    const bool same = std::memcmp(f32.data<float>(), d.data(), f32.nbytes()) == 0;
    const auto t = interleaved({read_all, [&] { stored(matrix[static_cast<std::size_t>(turn++ % matrices)]); },
                                [&] { panels(next(packed), d.data()); },
                                [&] { in_bf16(narrow[static_cast<std::size_t>(turn++ % matrices)]); }, peer},
                               1.2);
    const double bytes = 4e-9 * static_cast<double>(size);
    std::printf("%5d %12.1f %12.1f %12.1f %12.1f %12.1f %6s\n", static_cast<int>(M), bytes / t[0].median,
                bytes / t[1].median, bytes / t[2].median, bytes / 2 / t[3].median, bytes / t[4].median,
                same ? "same" : "OTHER");
    std::fflush(stdout);
  }
}

const Benchmark rows_benchmark("rows", run);

}  // namespace
