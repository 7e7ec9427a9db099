// Products on the simulated device: through cuBLASLt's stand-in, whose sums have the CPU's order, and the product for
// few rows.
#include "kernels/gemm.h"

#include <doctest/doctest.h>

#include "kernels/cuda/gemm_rows.h"
#include "kernels/gpu/cublaslt.h"
#include "kernels/row_products.h"
#include "kernels/sim/cublaslt_stand_in.h"
#include "tests/kernels/cuda_twins.h"
#include "tests/kernels/sim_schedules.h"

using namespace ov;
using namespace ov::kernels;

namespace {

// A matrix whose rows lie `gap` elements further apart than they are long, the first `offset` elements into its memory.
Tensor matrix(Device& device, Dtype dtype, std::int64_t rows, std::int64_t columns, unsigned seed, std::int64_t gap) {
  const Tensor all = Tensor::of(drawn(rows * (columns + gap), seed), {rows, columns + gap}).to(dtype).to(device);
  return all.slice(1, gap, gap + columns);
}

struct Form {
  bool trans_a, trans_b, accumulate, bias, wide;  // wide: c in f32 though a and b are bf16
};

Tensor product_on(Device& device, Dtype dtype, const Form& f, std::int64_t M, std::int64_t N, std::int64_t K,
                  std::int64_t gap) {
  const Tensor c = matrix(device, f.wide ? Dtype::f32 : dtype, M, N, 3, gap).contiguous_copy();
  const Tensor into = gap ? matrix(device, c.dtype(), M, N, 3, gap) : c;
  Gemm g{.c = into,
         .a = f.trans_a ? matrix(device, dtype, K, M, 1, gap) : matrix(device, dtype, M, K, 1, gap),
         .b = f.trans_b ? matrix(device, dtype, N, K, 2, gap) : matrix(device, dtype, K, N, 2, gap),
         .trans_a = f.trans_a,
         .trans_b = f.trans_b,
         .accumulate = f.accumulate};
  if (f.bias) g.bias = Tensor::of(drawn(N + gap, 4), {N + gap}).to(dtype).to(device).slice(0, gap, gap + N);
  if (!f.accumulate) into.fill(NAN);  // must not be read
  gemm(g);
  return into;
}

const Form forms[] = {{false, true, false, true, false},
                      {false, false, false, false, false},
                      {true, false, true, false, true},
                      {true, true, true, true, false},
                      {false, true, true, true, true}};

struct Mode {
  sim::CublasLtModes before = sim::cublaslt_modes();
  explicit Mode(sim::CublasLtModes m) { sim::cublaslt_modes() = m; }
  ~Mode() { sim::cublaslt_modes() = before; }
};

}  // namespace

TEST_CASE("gemm: the CUDA twin asks for what the CPU computes: every form, stride, alignment, bias and type (G-48)") {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const Form& f : forms)
      for (const std::int64_t gap : {0, 8, 3})
        for (const auto& [M, N, K] :
             std::vector<std::array<std::int64_t, 3>>{{17, 5, 8}, {40, 24, 400}, {33, 1, 1}, {17, 3, 0}}) {
          CAPTURE(name_of(dtype));
          CAPTURE(f.trans_a);
          CAPTURE(f.trans_b);
          CAPTURE(gap);
          CAPTURE(K);
          const Tensor expected = product_on(cpu(), dtype, f, M, N, K, gap);
          for (const sim::Order order : {sim::Order::forward, sim::Order::reverse, sim::Order::random}) {
            const sim::ScheduleScope scope({order, 1});
            CHECK(same_bits(product_on(sim_device(), dtype, f, M, N, K, gap), expected));
          }
        }
}

TEST_CASE("gemm: a product on tensor cores where f32 was asked for is refused, and TF32 has other bits") {
  const Form& form = forms[0];
  const Mode mode({.offers_tensor_cores = true});
  CHECK(test::contains(
      test::thrown([&] { product_on(sim_device(), Dtype::f32, form, 71, 6, 9, 0); }, Exit::machine_failed),
      "does not compute in f32"));
}

TEST_CASE("gemm: few rows in bf16 keep their bits whatever the number of rows; the library's product need not (G-38)") {
  const std::int64_t F = 13, C = 777, most = 16;
  const Tensor x = matrix(sim_device(), Dtype::bf16, 40, C, 1, 0), w = matrix(sim_device(), Dtype::bf16, F, C, 2, 0);
  const auto rows = [&](std::int64_t first, std::int64_t n, const Tensor& w) {
    const Tensor y({n, F}, Dtype::bf16, sim_device());
    y.fill(NAN);
    gemm({.c = y, .a = x.slice(0, first, first + n), .b = w, .trans_b = true});
    return y;
  };
  const Mode mode({.order_depends_on_rows = true});
  const Tensor together = rows(0, most, w);
  for (const std::int64_t n : {1, 2, 3, 7, 8, 9})
    for (const std::int64_t first : {std::int64_t{0}, most - n})
      CHECK(same_bits(rows(first, n, w), together.slice(0, first, first + n)));
  // More rows through the same kernel, for a chunk of a prompt.
  const Tensor chunk({40, F}, Dtype::bf16, sim_device());
  simulated::gemm_of_rows({.c = chunk, .a = x, .b = w, .trans_b = true}, nullptr);
  CHECK(same_bits(chunk.slice(0, 0, most), together));
  // The library in this mode: 18 and 17 rows are added up in 1 and 3 pieces.
  const Tensor y = product_on(sim_device(), Dtype::f32, forms[1], 18, F, C, 0),
               z = product_on(sim_device(), Dtype::f32, forms[1], 17, F, C, 0);
  CHECK_FALSE(same_bits(y.slice(0, 0, 17), z));
}

TEST_CASE(
    "gemm: few rows have the CPU's bits, at every length and in every thread order, with a bias and rows in views") {
  const auto rows_on = [](Device& device, Dtype dtype, std::int64_t C, std::int64_t gap, Dtype stored) {
    const std::int64_t N = 9, F = 37;
    Gemm g{.c = Tensor({N, F}, stored, device),
           .a = matrix(device, dtype, N, C, 1, gap),
           .b = matrix(device, dtype, F, C, 2, gap),
           .trans_b = true,
           .bias = Tensor::of(drawn(F, 4), {F}).to(dtype).to(device)};
    g.c.fill(NAN);
    gemm(g);
    return g.c;
  };
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const std::int64_t gap : {0, 8, 3})
      for (const std::int64_t C : {1, 7, 64, 65, 384, 385, 8 * 384 + 9}) {
        if (C > 400 && gap == 8) continue;
        CAPTURE(name_of(dtype));
        CAPTURE(C);
        const Tensor expected = rows_on(cpu(), dtype, C, gap, Dtype::f32);
        for (const sim::Order order : {sim::Order::forward, sim::Order::reverse, sim::Order::random}) {
          if (C > 400 && order == sim::Order::random) continue;
          const sim::ScheduleScope scope({order, 1});
          CHECK(same_bits(rows_on(sim_device(), dtype, C, gap, Dtype::f32), expected));
        }
      }
  CHECK(same_bits(rows_on(sim_device(), Dtype::bf16, 65, 0, Dtype::bf16),
                  rows_on(cpu(), Dtype::bf16, 65, 0, Dtype::bf16)));
}

TEST_CASE(
    "gemm: for generation a row's bits do not depend on the rows beside it, in either type and whatever the shape") {
  const std::int64_t most = 70;
  const Mode mode({.order_depends_on_rows = true});
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const std::int64_t gap : {0, 8, 3})  // 3: no packets, no tensor cores
      for (const auto& [F, C] : std::vector<std::array<std::int64_t, 2>>{{1, 8}, {64, 72}, {65, 8 * 40}, {13, 777}}) {
        CAPTURE(name_of(dtype));
        CAPTURE(gap);
        CAPTURE(C);
        const Tensor x = matrix(sim_device(), dtype, most, C, 1, gap), w = matrix(sim_device(), dtype, F, C, 2, gap);
        const Tensor bias = Tensor::of(drawn(F, 4), {F}).to(dtype).to(sim_device());
        const auto rows = [&](std::int64_t first, std::int64_t n, Dtype stored) {
          const RowProducts alone;
          const Tensor y({n, F}, stored, sim_device());
          y.fill(NAN);
          gemm({.c = y, .a = x.slice(0, first, first + n), .b = w, .trans_b = true, .bias = bias});
          return y;
        };
        const Tensor together = rows(0, most, Dtype::f32);
        for (const sim::Order order : {sim::Order::reverse, sim::Order::random}) {
          const sim::ScheduleScope scope({order, 1});
          for (const std::int64_t n : {1, 16, 17, 33})
            for (const std::int64_t first : {std::int64_t{0}, most - n})
              CHECK(same_bits(rows(first, n, Dtype::f32), together.slice(0, first, first + n)));
          if (dtype == Dtype::bf16) CHECK(same_bits(rows(0, 33, dtype), together.slice(0, 0, 33).to(dtype)));
        }
        if (dtype == Dtype::bf16) CHECK(same_bits(rows(0, most, dtype), together.to(dtype)));
        // The right numbers: C roundings, each of at most 2^-24 of the sum of magnitudes, and that of the bias.
        const auto f64 = [](const Tensor& t) { return t.to(cpu()).to(Dtype::f64).to_vector<double>(); };
        const auto got = f64(together), of_x = f64(x.contiguous_copy()), of_w = f64(w.contiguous_copy()), b = f64(bias);
        double worst = 0;
        for (std::int64_t n = 0; n < most; ++n)
          for (std::int64_t f = 0; f < F; ++f) {
            double sum = b[std::size_t(f)], size = std::abs(sum);
            for (std::int64_t c = 0; c < C; ++c) {
              const double term = of_x[std::size_t(n * C + c)] * of_w[std::size_t(f * C + c)];
              sum += term, size += std::abs(term);
            }
            worst = std::max(worst, std::abs(got[std::size_t(n * F + f)] - sum) / (double(C + 1) * 0x1p-24 * size));
          }
        CHECK(worst <= 1);
      }
  // Elsewhere the library chooses by the number of rows, and it shows.
  const auto rows = [](std::int64_t n) {
    const Tensor y({n, 13}, Dtype::bf16, sim_device()), wide({n, 13}, Dtype::f32, sim_device());
    gemm({.c = wide,
          .a = matrix(sim_device(), Dtype::bf16, 40, 777, 1, 0).slice(0, 0, n),
          .b = matrix(sim_device(), Dtype::bf16, 13, 777, 2, 0),
          .trans_b = true});
    return wide;
  };
  CHECK_FALSE(same_bits(rows(18).slice(0, 0, 17), rows(17)));
}

TEST_CASE("gemm: an algorithm is chosen once a shape, and every descriptor is given back (G-36)") {
  const int before = sim::cublaslt_objects();
  {
    Device& device = sim_device();
    gpu::CublasLt library(sim::cublaslt_stand_in(), device);
    const auto multiply = [&](std::int64_t M, std::int64_t K, std::int64_t gap) {
      const Tensor c({M, 5}, Dtype::f32, device);
      library.product({.c = c,
                       .a = matrix(device, Dtype::f32, M, K, 1, gap),
                       .b = matrix(device, Dtype::f32, 5, K, 2, 0),
                       .trans_b = true},
                      nullptr);
    };
    for (int turn = 0; turn < 3; ++turn) multiply(6, 8, 0), multiply(7, 8, 0), multiply(6, 8, 4);
    CHECK(library.shapes() == 3);
    CHECK(sim::cublaslt_objects() > before);
  }
  CHECK(sim::cublaslt_objects() == before);
}

TEST_CASE("gemm: variables that would change the library's numbers are removed, and named (G-50)") {
  setenv("NVIDIA_TF32_OVERRIDE", "1", 1);
  setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8", 1);
  CHECK(gpu::remove_environment() == "NVIDIA_TF32_OVERRIDE CUBLAS_WORKSPACE_CONFIG");
  CHECK(std::getenv("NVIDIA_TF32_OVERRIDE") == nullptr);
  CHECK(gpu::remove_environment() == "");
}
