// What is asked of cuBLASLt once a shape (kernels/gpu/cublaslt.h), seen by a library that listens: the limits it is
// told, its mistakes, and the names under which its choices are kept.
#include <doctest/doctest.h>

#include <cstring>

#include "kernels/gemm.h"
#include "kernels/gpu/cublaslt.h"
#include "kernels/sim/cublaslt_stand_in.h"
#include "tests/check.h"
#include "tests/devices/sim_device.h"
#include "tests/kernels/cuda_twins.h"

using namespace ov;
using namespace ov::test;
using namespace ov::gpu;
using Policy = ForeignDevice::Policy;

namespace {

// What the library was told since a test began.
struct Heard {
  std::uint64_t asked_workspace = 0, given_workspace = 0, allowed = 0;
  int failures = 0;     // so many questions for an algorithm it does not answer
  bool greedy = false;  // a kept algorithm wants more workspace than there is
};
Heard heard;

lt::Api listening() {
  lt::Api api = sim::cublaslt_stand_in();
  api.preference_set = [](lt::Preference p, int attribute, const void* value, std::size_t bytes) {
    if (attribute == lt::max_workspace) std::memcpy(&heard.asked_workspace, value, sizeof heard.asked_workspace);
    if (attribute == lt::implementations) std::memcpy(&heard.allowed, value, sizeof heard.allowed);
    return sim::cublaslt_stand_in().preference_set(p, attribute, value, bytes);
  };
  api.heuristic = [](lt::Handle h, lt::Desc p, lt::Layout a, lt::Layout b, lt::Layout c, lt::Layout d,
                     lt::Preference wish, int wanted, lt::Heuristic* found, int* count) -> int {
    if (heard.failures-- > 0) return lt::not_supported;
    return sim::cublaslt_stand_in().heuristic(h, p, a, b, c, d, wish, wanted, found, count);
  };
  api.algo_check = [](lt::Handle h, lt::Desc p, lt::Layout a, lt::Layout b, lt::Layout c, lt::Layout d,
                      const lt::Algo* algo, lt::Heuristic* result) {
    const int status = sim::cublaslt_stand_in().algo_check(h, p, a, b, c, d, algo, result);
    if (heard.greedy) result->workspace = cublaslt_workspace + 1;
    return status;
  };
  api.matmul = [](lt::Handle h, lt::Desc p, const void* alpha, const void* a, lt::Layout la, const void* b,
                  lt::Layout lb, const void* beta, const void* c, lt::Layout lc, void* d, lt::Layout ld,
                  const lt::Algo* algo, void* workspace, std::size_t bytes, lt::Stream stream) {
    heard.given_workspace = bytes;
    return sim::cublaslt_stand_in().matmul(h, p, alpha, a, la, b, lb, beta, c, lc, d, ld, algo, workspace, bytes,
                                           stream);
  };
  return api;
}

struct Gpu {
  Gpu() : device(Policy::lazy) {
    heard = {};
    bring_cublaslt(device, listening());
  }
  CublasLt& library() { return cublaslt(device); }
  SimDevice device;
};

// C [100,64] = A B on a device, in f32 or bf16, and how it differs from the plain product.
struct Form {
  Dtype dtype = Dtype::bf16, c_dtype = Dtype::bf16;
  bool trans_a = false, trans_b = true, accumulate = false;
  std::int64_t gap_a = 0, gap_b = 0, gap_c = 0;        // numbers between rows
  std::int64_t shift_a = 0, shift_b = 0, shift_c = 0;  // numbers before the first
  std::int64_t bias_shift = -1;                        // -1: no bias
};
Tensor array(Device& d, Dtype dtype, std::int64_t rows, std::int64_t columns, std::int64_t gap, std::int64_t shift) {
  const std::int64_t n = rows * (columns + gap);
  const Tensor whole = on(d, drawn(n + shift, 1), {n + shift}).to(dtype);
  return whole.slice(0, shift, n + shift).view({rows, columns + gap}).slice(1, 0, columns);
}
Tensor multiply(Device& d, const Form& f) {
  const std::int64_t M = 100, N = 64, K = 64;
  const Tensor c = array(d, f.c_dtype, M, N, f.gap_c, f.shift_c);
  kernels::gemm(
      {.c = c,
       .a = f.trans_a ? array(d, f.dtype, K, M, f.gap_a, f.shift_a) : array(d, f.dtype, M, K, f.gap_a, f.shift_a),
       .b = array(d, f.dtype, f.trans_b ? N : K, f.trans_b ? K : N, f.gap_b, f.shift_b),
       .trans_a = f.trans_a,
       .trans_b = f.trans_b,
       .accumulate = f.accumulate,
       .bias = f.bias_shift < 0 ? Tensor{} : array(d, f.c_dtype, 1, N, 0, f.bias_shift).view({N})});
  return c;
}

}  // namespace

TEST_CASE("cuBLASLt's plans: the library is told of the workspace that it is given, and in f32 of plain adds alone") {
  Gpu gpu;
  multiply(gpu.device, {});
  gpu.device.synchronize();
  CHECK(heard.given_workspace == std::uint64_t(cublaslt_workspace));
  CHECK(heard.asked_workspace == heard.given_workspace);
  CHECK(heard.allowed == 0);  // bf16: any
  multiply(gpu.device, {.dtype = Dtype::f32, .c_dtype = Dtype::f32});
  CHECK(heard.allowed == (lt::by_fma | lt::adds_in_f32 | lt::takes_f32));
}

TEST_CASE("cuBLASLt's plans: products that an algorithm may tell apart are kept under names of their own") {
  Gpu gpu;
  const std::vector<Form> forms = {{},
                                   {.dtype = Dtype::f32, .c_dtype = Dtype::f32},
                                   {.c_dtype = Dtype::f32},
                                   {.trans_a = true},
                                   {.trans_b = false},
                                   {.accumulate = true},
                                   {.gap_a = 8},
                                   {.gap_b = 8},
                                   {.gap_c = 8},
                                   {.shift_a = 8},
                                   {.shift_b = 8},
                                   {.shift_c = 8},
                                   {.bias_shift = 0},
                                   {.bias_shift = 8}};
  for (const Form& f : forms) multiply(gpu.device, f);
  CHECK(gpu.library().shapes() == forms.size());
  CHECK(gpu.library().chosen().size() == forms.size());
}

TEST_CASE("cuBLASLt's plans: a shape that the library refused once is asked for again") {
  Gpu gpu;
  const Form f{.dtype = Dtype::f32, .c_dtype = Dtype::f32};
  heard.failures = 1;
  CHECK_THROWS_WITH_AS(multiply(gpu.device, f), doctest::Contains("AlgoGetHeuristic failed with status 15"), Error);
  CHECK(gpu.library().shapes() == 0);
  CHECK(gpu.library().chosen().empty());
  CHECK(same_bits(multiply(gpu.device, f), multiply(cpu(), f)));
}

TEST_CASE("cuBLASLt's plans: a kept algorithm that wants more workspace than there is is refused by its file") {
  Gpu first;
  multiply(first.device, {});
  const Algorithms kept = first.library().chosen();
  Gpu gpu;
  gpu.library().choose(kept, "run/algorithms.json");
  heard.greedy = true;
  CHECK_THROWS_WITH_AS(multiply(gpu.device, {}),
                       doctest::Contains("run/algorithms.json: cuBLASLt refuses the algorithm that stands there"),
                       Error);
  heard.greedy = false;
  multiply(gpu.device, {});
  gpu.device.synchronize();
}
