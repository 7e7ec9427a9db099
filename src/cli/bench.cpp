#include <algorithm>
#include <cstdio>

#include "base/clock.h"
#include "base/parallel.h"
#include "cli/verbs.h"
#include "kernels/cpu/peak.h"
#include "kernels/gemm.h"

namespace ov::cli {
namespace {

// y [rows, outputs] = x [rows, inputs] wᵀ, as in a linear layer: FLOP/s, the median of `repeats` timings.
double product_rate(std::int64_t rows, std::int64_t outputs, std::int64_t inputs, std::int64_t repeats) {
  const Tensor x = Tensor::zeros({rows, inputs}, Dtype::f32, ov::cpu()),
               w = Tensor::zeros({outputs, inputs}, Dtype::f32, ov::cpu());
  const Tensor y({rows, outputs}, Dtype::f32, ov::cpu());
  const double flops = 2.0 * static_cast<double>(rows * outputs * inputs);
  const auto runs = std::max<std::int64_t>(1, static_cast<std::int64_t>(2e8 / flops));  // milliseconds a timing
  std::vector<double> rates;
  for (std::int64_t r = -1; r < repeats; ++r) {
    const double start = monotonic_seconds();
    for (std::int64_t i = 0; i < runs; ++i) kernels::gemm({.c = y, .a = x, .b = w, .trans_b = true});
    if (r >= 0)
      rates.push_back(flops * static_cast<double>(runs) / (monotonic_seconds() - start));  // the first warms up
  }
  std::nth_element(rates.begin(), rates.begin() + repeats / 2, rates.end());
  return rates[static_cast<std::size_t>(repeats / 2)];
}

// Bytes a second that all threads read, of an array far larger than any cache: the best of `repeats` passes.
double read_rate(std::int64_t repeats) {
  const Tensor array = Tensor::zeros({std::int64_t{1} << 26}, Dtype::i64, ov::cpu());
  const std::int64_t n = array.numel(), piece = 1 << 16;
  std::vector<std::int64_t> sums(static_cast<std::size_t>(n / piece));
  double best = 0;
  for (std::int64_t r = -1; r < repeats; ++r) {
    const double start = monotonic_seconds();
    parallel_for(n / piece, 4, [&](std::int64_t i) {
      const std::int64_t* from = array.data<std::int64_t>() + i * piece;
      std::int64_t sum = 0;
      for (std::int64_t k = 0; k < piece; ++k) sum += from[k];
      sums[static_cast<std::size_t>(i)] = sum;
    });
    if (r >= 0) best = std::max(best, static_cast<double>(array.nbytes()) / (monotonic_seconds() - start));
  }
  return best;
}

}  // namespace

Exit bench(const Config& config) {
  use_threads(config);
  struct Product {
    const char* name;
    std::int64_t rows, outputs, inputs;
  };
  // configs/model/tiny.json on 4 rows of 76 tokens and 44 patches, and one size at which only the kernel counts.
  const Product products[] = {
      {"1024 cubed", 1024, 1024, 1024}, {"tower qkv", 180, 288, 96}, {"tower fc1", 180, 384, 96},
      {"tower fc2", 180, 96, 384},      {"merger", 44, 384, 384},    {"decoder qkv", 304, 256, 128},
      {"gate and up", 304, 512, 128},   {"down", 304, 128, 256},     {"head", 304, 278, 128}};
  const double peak = kernels::cpu::fma_peak_flops(threads());
  std::string table;
  char line[128];
  std::snprintf(line, sizeof line, "%-14s %6d threads %8.1f GFLOP/s\n", "FMA peak", threads(), peak / 1e9);
  table += line;
  std::snprintf(line, sizeof line, "%-14s %6d threads %8.1f GB/s\n", "memory, read", threads(),
                read_rate(config.integer("bench.repeats")) / 1e9);
  table += line;
  for (const Product& p : products) {
    const double rate = product_rate(p.rows, p.outputs, p.inputs, config.integer("bench.repeats"));
    std::snprintf(line, sizeof line, "%-14s %4ld x %4ld x %4ld %8.1f GFLOP/s %5.1f %% of peak\n", p.name,
                  static_cast<long>(p.rows), static_cast<long>(p.outputs), static_cast<long>(p.inputs), rate / 1e9,
                  100 * rate / peak);
    table += line;
  }
  print(table);
  return Exit::done;
}

}  // namespace ov::cli
