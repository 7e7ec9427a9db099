// The stand-in for cuBLASLt refuses what the library refuses, or answers with wrong numbers or a crash.
#include <doctest/doctest.h>

#include <functional>

#include "kernels/sim/cublaslt_stand_in.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::gpu::lt;
using ov::test::contains;

namespace {

// D [4,3] = A [4,2] B [2,3], all column-major in f32, asked for as it should be. A test changes one thing.
struct Request {
  const Api& api = sim::cublaslt_stand_in();
  int compute = compute_32f_pedantic;
  std::int64_t lda = 4, ldb = 2, ldd = 4, rows_of_a = 4;
  std::uint32_t end = nothing, reductions = in_compute_type, align = 16;
  std::int32_t type_of_bias = f32;
  const void* bias = nullptr;
  std::size_t attribute_bytes = 4, workspace_bytes = 1 << 16;
  int shift_a = 0, shift_workspace = 0;
  bool no_algorithm = false, for_another = false, d_is_a = false, dead_layout = false;
  alignas(256) float a[64] = {1, 2, 3, 4, 5, 6, 7, 8}, b[64] = {1, 2, 3, 4, 5, 6}, d[64] = {};
  alignas(256) std::byte workspace[(1 << 16) + 256];

  // "" when it goes through.
  std::string send() {
    Handle handle;
    Desc desc;
    Layout layout[4];
    Preference preference;
    api.create(&handle), api.desc_create(&desc, compute, f32), api.preference_create(&preference);
    std::string why;
    const auto ok = [&](int status) {
      if (status != success && why.empty()) why = sim::cublaslt_complaint();
      return status == success;
    };
    const std::int32_t plain = as_it_is;
    const std::uint64_t limit = workspace_bytes;
    ok(api.desc_set(desc, transpose_a, &plain, attribute_bytes));
    ok(api.desc_set(desc, epilogue, &end, 4));
    if (bias) ok(api.desc_set(desc, bias_pointer, &bias, 8)), ok(api.desc_set(desc, bias_type, &type_of_bias, 4));
    api.layout_create(&layout[0], f32, std::uint64_t(rows_of_a), 2, lda), api.layout_create(&layout[1], f32, 2, 3, ldb);
    api.layout_create(&layout[2], f32, 4, 3, ldd), api.layout_create(&layout[3], f32, 4, 3, ldd + 1);
    ok(api.preference_set(preference, max_workspace, &limit, 8));
    ok(api.preference_set(preference, reduction_schemes, &reductions, 4));
    for (const int which : {alignment_a, alignment_b, alignment_c, alignment_d})
      ok(api.preference_set(preference, which, &align, 4));
    Heuristic found[4];
    int count = 0;
    const float one = 1, zero = 0;
    if (why.empty() &&
        ok(api.heuristic(handle, desc, layout[0], layout[1], layout[2], layout[2], preference, 4, found, &count))) {
      int best = 0;
      while (found[best].status != success) ++best;
      if (dead_layout) api.layout_destroy(layout[1]);
      const Layout of_d = layout[for_another ? 3 : 2];
      float* to = d_is_a ? a : d;
      ok(api.matmul(handle, desc, &one, a + shift_a, layout[0], b, layout[1], &zero, to, of_d, to, of_d,
                    no_algorithm ? nullptr : &found[best].algo, workspace + shift_workspace, workspace_bytes, nullptr));
    }
    api.desc_destroy(desc), api.preference_destroy(preference), api.destroy(handle);
    for (int i = 0; i < 4; ++i)
      if (!(dead_layout && i == 1)) api.layout_destroy(layout[i]);
    return why;
  }
};

std::string refusal(const std::function<void(Request&)>& change) {
  Request r;
  change(r);
  return r.send();
}

}  // namespace

TEST_CASE("cuBLASLt's stand-in multiplies column by column") {
  Request r;
  CHECK(r.send() == "");
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 3; ++j) CHECK(r.d[j * 4 + i] == r.a[i] * r.b[2 * j] + r.a[4 + i] * r.b[2 * j + 1]);
}

TEST_CASE("cuBLASLt's stand-in refuses each wrong request, and says why (G-43, G-44, G-45, G-46, G-47, G-48, G-49)") {
  static float bias[8];
  CHECK(contains(refusal([](Request& r) { r.lda = 3; }), "ld 3 is shorter than a column of 4"));
  CHECK(contains(refusal([](Request& r) { r.rows_of_a = r.lda = 5; }), "A does not have the rows of D"));
  CHECK(contains(refusal([](Request& r) { r.attribute_bytes = 8; }), "an attribute of 4 bytes is given 8"));
  CHECK(contains(refusal([](Request& r) { r.end = add_bias; }), "a bias without its epilogue"));
  CHECK(contains(refusal([](Request& r) { r.bias = bias; }), "a bias without its epilogue"));
  CHECK(
      contains(refusal([](Request& r) { r.end = 32 + add_bias, r.bias = bias; }), "this epilogue"));  // GELU: tanh form
  CHECK(contains(refusal([](Request& r) { r.end = add_bias, r.bias = bias, r.type_of_bias = bf16; }),
                 "another type than D"));
  CHECK(contains(refusal([](Request& r) { r.end = add_bias, r.bias = reinterpret_cast<char*>(bias) + 4; }),
                 "not at a multiple of 16"));
  CHECK(contains(refusal([](Request& r) { r.reductions = 7; }), "partial sums in another type"));
  CHECK(contains(refusal([](Request& r) { r.shift_a = 1; }), "matrix A is not at a multiple of 16 bytes"));
  CHECK(contains(refusal([](Request& r) { r.align = 256, r.shift_a = 4; }),
                 "matrix A is not at a multiple of 256 bytes"));
  CHECK(contains(refusal([](Request& r) { r.workspace_bytes = 0; }), "no workspace"));
  CHECK(contains(refusal([](Request& r) { r.shift_workspace = 16; }), "workspace is too small, or not at a multiple"));
  CHECK(contains(refusal([](Request& r) { r.no_algorithm = true; }), "no algorithm"));
  CHECK(contains(refusal([](Request& r) { r.for_another = true; }), "chosen for another product"));
  CHECK(contains(refusal([](Request& r) { r.d_is_a = true; }), "D overlaps A or B"));
  CHECK(contains(refusal([](Request& r) { r.dead_layout = true; }), "does not live"));
  CHECK(refusal([](Request& r) { r.end = add_bias, r.bias = bias; }) == "");
}

TEST_CASE("cuBLASLt's stand-in takes TF32 for f32 unless it is told not to") {
  Request exact, rough;
  exact.a[0] = rough.a[0] = 1 + 0x1p-20f;
  rough.compute = compute_32f_fast_tf32;
  CHECK(exact.send() == "");
  CHECK(rough.send() == "");
  CHECK(exact.d[0] != rough.d[0]);
}
