// Misuse of cuBLASLt that tests/kernels/gpu_cublaslt_test.cpp, whose calls are made in the right order, does not reach:
// addresses and objects that are none, memory that is another's, other streams. The stand-in refuses it by name; calls
// drawn by chance neither crash it nor leave an object behind.
#include <doctest/doctest.h>

#include <algorithm>

#include "base/rng.h"
#include "kernels/sim/cublaslt_stand_in.h"
#include "tests/check.h"
#include "tests/devices/sim_device.h"

using namespace ov;
using namespace ov::test;
using namespace ov::gpu::lt;

namespace {

constexpr std::size_t room = 4096;  // what the stand-in asks for, in bytes

// D [4,3] = A [4,2] B [2,3] in f32, column-major, asked for as it should be. It ends with all its objects.
struct Asked {
  const Api& api = sim::cublaslt_stand_in();
  Handle handle = nullptr;
  Desc desc = nullptr;
  Layout a = nullptr, b = nullptr, d = nullptr;
  Preference preference = nullptr;
  Heuristic found[4];
  int count = 0;
  float one = 1, zero = 0;

  explicit Asked(std::int64_t lda = 4, const void* bias = nullptr) {
    const std::uint64_t workspace = room;
    const std::uint32_t split = in_compute_type, sixteen = 16, end = bias ? add_bias : nothing;
    const std::int32_t type = f32;
    bool ok = api.create(&handle) == success && api.desc_create(&desc, compute_32f_pedantic, f32) == success &&
              api.layout_create(&a, f32, 4, 2, lda) == success && api.layout_create(&b, f32, 2, 3, 2) == success &&
              api.layout_create(&d, f32, 4, 3, 4) == success && api.preference_create(&preference) == success &&
              api.desc_set(desc, epilogue, &end, 4) == success &&
              api.preference_set(preference, max_workspace, &workspace, 8) == success &&
              api.preference_set(preference, reduction_schemes, &split, 4) == success;
    if (bias)
      ok = ok && api.desc_set(desc, bias_pointer, &bias, 8) == success &&
           api.desc_set(desc, bias_type, &type, 4) == success;
    for (const int which : {alignment_a, alignment_b, alignment_c, alignment_d})
      ok = ok && api.preference_set(preference, which, &sixteen, 4) == success;
    REQUIRE(ok);
    REQUIRE(api.heuristic(handle, desc, a, b, d, d, preference, 4, found, &count) == success);
  }
  ~Asked() {
    api.desc_destroy(desc), api.preference_destroy(preference), api.destroy(handle);
    for (const Layout l : {a, b, d}) api.layout_destroy(l);
  }
  Asked(const Asked&) = delete;

  const Algo* algo() const {
    const auto usable = [](const Heuristic& h) { return h.status == success; };
    return &std::find_if(found, found + count, usable)->algo;
  }
  // What is said of the product; "" when it is queued.
  std::string product(const void* x, const void* y, void* to, void* workspace, gpu::Stream stream) const {
    return said(api.matmul(handle, desc, &one, x, a, y, b, &zero, to, d, to, d, algo(), workspace, room, stream));
  }
  static std::string said(int status) { return status == success ? "" : sim::cublaslt_complaint(); }
};

// Tensors of bytes on a simulated GPU.
Tensor bytes_on(Device& device, std::size_t n) { return {{std::int64_t(n)}, Dtype::u8, device, Segment::workspace}; }
// The first multiple of 256 in it.
std::byte* aligned(const Tensor& t) {
  return t.device_bytes() + (-reinterpret_cast<std::uintptr_t>(t.device_bytes()) & 255);
}

}  // namespace

TEST_CASE("cuBLASLt's stand-in refuses calls without an address, and objects of another kind") {
  const Asked r;
  const Api& lt = r.api;
  alignas(256) float x[8] = {}, y[8] = {}, to[12] = {};
  alignas(256) std::byte workspace[room];
  const auto matmul = [&](const void* alpha, const void* a, const void* b, void* d, Desc desc, Layout of_a) {
    return Asked::said(
        lt.matmul(r.handle, desc, alpha, a, of_a, b, r.b, &r.zero, d, r.d, d, r.d, r.algo(), workspace, room, nullptr));
  };
  CHECK(matmul(&r.one, x, y, to, r.desc, r.a) == "");
  CHECK(matmul(nullptr, x, y, to, r.desc, r.a) == "alpha or beta without an address");
  CHECK(matmul(&r.one, nullptr, y, to, r.desc, r.a) == "a matrix without an address");
  CHECK(matmul(&r.one, x, nullptr, to, r.desc, r.a) == "a matrix without an address");
  CHECK(matmul(&r.one, x, y, nullptr, r.desc, r.a) == "a matrix without an address");
  const std::string another = "an object that does not live, or is another";
  CHECK(matmul(&r.one, x, y, to, r.a, r.a) == another);
  CHECK(matmul(&r.one, x, y, to, r.desc, r.desc) == another);
  CHECK(matmul(&r.one, x, y, to, nullptr, r.a) == another);
  const std::int32_t turn = transposed;
  CHECK(Asked::said(lt.desc_set(r.a, transpose_a, &turn, 4)) == another);
  CHECK(Asked::said(lt.preference_set(r.desc, alignment_a, &turn, 4)) == another);
  CHECK(Asked::said(lt.desc_set(r.desc, transpose_a, nullptr, 4)) == "an attribute without a value");
  CHECK(Asked::said(lt.desc_destroy(r.a)) == "an object is destroyed twice, or is another");
  CHECK(Asked::said(lt.create(nullptr)) == "nowhere to put an object");
  int count = 0;
  Heuristic found[1];
  CHECK(Asked::said(lt.heuristic(r.handle, r.desc, r.a, r.b, r.d, r.d, r.preference, 0, found, &count)) ==
        "no room for algorithms");
  std::uint64_t flags = 0;
  CHECK(Asked::said(lt.capability(r.algo(), implementation_flags, &flags, 8, nullptr)) ==
        "a capability without an algorithm or an address");
}

TEST_CASE("cuBLASLt's stand-in refuses types, transposes, attributes and scales that nobody asked the library for") {
  const Asked r;
  const Api& lt = r.api;
  Desc desc = nullptr;
  CHECK(Asked::said(lt.desc_create(&desc, 64, f32)) == "this type of sums");  // in f16
  CHECK(Asked::said(lt.desc_create(&desc, compute_32f, bf16)) == "this type of alpha and beta");
  CHECK(Asked::said(lt.desc_set(r.desc, 99, &r.one, 4)) == "this attribute of a product");
  CHECK(Asked::said(lt.preference_set(r.preference, 99, &r.one, 4)) == "this preference");
  std::uint64_t flags = 0;
  std::size_t written = 0;
  CHECK(Asked::said(lt.capability(r.algo(), 99, &flags, 8, &written)) == "this capability");
  CHECK(Asked::said(lt.capability(r.algo(), implementation_flags, &flags, 4, &written)) == "this capability");

  const auto asked = [&](int type_a, int type_b, int rows_b, int columns_b, int type_d, Layout of_c) {
    Layout a, b, d;
    lt.layout_create(&a, type_a, 4, 2, 4),
        lt.layout_create(&b, type_b, std::uint64_t(rows_b), std::uint64_t(columns_b), 9);
    lt.layout_create(&d, type_d, 4, 3, 4);
    Heuristic found[4];
    int count = 0;
    const std::string why =
        Asked::said(lt.heuristic(r.handle, r.desc, a, b, of_c ? of_c : d, d, r.preference, 4, found, &count));
    for (const Layout l : {a, b, d}) lt.layout_destroy(l);
    return why;
  };
  CHECK(asked(f32, f32, 2, 3, f32, nullptr) == "");
  CHECK(asked(2, 2, 2, 3, 2, nullptr) == "a type other than f32 and bf16");  // f16
  CHECK(asked(f32, bf16, 2, 3, f32, nullptr) == "these types together");
  CHECK(asked(f32, f32, 2, 3, bf16, nullptr) == "these types together");
  CHECK(asked(f32, f32, 0, 3, f32, nullptr) == "an empty matrix");
  CHECK(asked(f32, f32, 2, 4, f32, nullptr) == "B does not have the columns of D");
  CHECK(asked(f32, f32, 3, 3, f32, nullptr) == "A and B do not fit together");
  CHECK(asked(f32, f32, 2, 3, f32, r.a) == "C and D have different layouts");
  const std::int32_t conjugate = 2, plain = as_it_is;
  CHECK(lt.desc_set(r.desc, transpose_b, &conjugate, 4) == success);
  CHECK(asked(f32, f32, 2, 3, f32, nullptr) == "this transpose");
  CHECK(lt.desc_set(r.desc, transpose_b, &plain, 4) == success);

  alignas(256) float x[8] = {}, y[8] = {}, to[12] = {}, other[12] = {};
  alignas(256) std::byte workspace[room];
  const auto matmul = [&](float alpha, float beta, const void* c, std::size_t bytes) {
    return Asked::said(lt.matmul(r.handle, r.desc, &alpha, x, r.a, y, r.b, &beta, c, r.d, to, r.d, r.algo(), workspace,
                                 bytes, nullptr));
  };
  CHECK(matmul(1, 1, to, room) == "");
  CHECK(matmul(2, 0, to, room) == "alpha other than 1, beta other than 0 and 1");
  CHECK(matmul(1, 0.5f, to, room) == "alpha other than 1, beta other than 0 and 1");
  CHECK(matmul(1, 0, other, room) == "C other than D");
  CHECK(contains(matmul(1, 0, to, room - 1), "the workspace is too small"));
}

TEST_CASE("cuBLASLt's stand-in refuses memory that is not all of one allocation, or another's") {
  SimDevice device(ForeignDevice::Policy::lazy);
  const Tensor bias = bytes_on(device, 16), x = bytes_on(device, 32), y = bytes_on(device, 24),
               to = bytes_on(device, 48), more = bytes_on(device, 256), space = bytes_on(device, room + 255),
               small = bytes_on(device, room - 256);
  const auto at = [](const Tensor& t) { return t.device_bytes(); };
  const gpu::Stream stream = device.stream();
  const auto fault = [&](const Asked& r, const Tensor& a, const Tensor& b, const Tensor& d, const Tensor& workspace) {
    try {
      return r.product(at(a), at(b), at(d), aligned(workspace), stream);
    } catch (const std::logic_error& e) { return std::string(e.what()); }
  };
  const Asked r, wide(8), biased(4, at(bias));
  CHECK(fault(r, x, y, to, space) == "");
  CHECK(fault(biased, x, y, to, space) == "");
  // An ld that is too long reaches behind A: 8 floats, and 4 of the second column.
  CHECK(contains(fault(wide, x, y, to, space), "cublasLtMatmul is given bytes 0 to 48 of an allocation of 32 bytes"));
  CHECK(contains(fault(r, x, y, x.slice(0, 16, 32), space), "D overlaps A or B"));
  CHECK(contains(fault(r, x, to.slice(0, 16, 40), to, space), "D overlaps A or B"));
  CHECK(contains(fault(r, y, y, to, space), "is given bytes 0 to 32 of an allocation of 24 bytes"));
  CHECK(contains(fault(r, x, y, more.slice(0, 224, 256), space), "is given bytes 224 to 272 of an allocation of 256"));
  CHECK(contains(fault(r, x, y, to, small), "is given bytes 0 to 4096 of an allocation of 3840"));
  CHECK(fault(r, x, y, space, space) == "the workspace overlaps a matrix or the bias");
  CHECK(fault(biased, x, y, bias, space) == "D overlaps the bias");
  device.synchronize();
}

TEST_CASE("cuBLASLt's stand-in refuses a workspace that another stream had: two products would write to it at once") {
  SimDevice device(ForeignDevice::Policy::lazy);
  const Tensor x = bytes_on(device, 32), y = bytes_on(device, 24), to = bytes_on(device, 48),
               space = bytes_on(device, room + 255), other = bytes_on(device, room + 255);
  const Asked r;
  const auto product = [&](const Tensor& workspace, gpu::Stream stream) {
    return r.product(x.device_bytes(), y.device_bytes(), to.device_bytes(), aligned(workspace), stream);
  };
  const gpu::Stream compute = device.stream();
  device.synchronize();
  CHECK(product(space, compute) == "");
  CHECK(product(space, compute) == "");
  CHECK(product(space, device.calls()) == "the workspace of another stream");
  CHECK(product(other, device.calls()) == "");
  device.runtime().stream_synchronize(device.calls());
  device.synchronize();
}

TEST_CASE("cuBLASLt's stand-in answers any calls drawn by chance, and keeps no object that was destroyed") {
  const int before = sim::cublaslt_objects();
  const Api& lt = sim::cublaslt_stand_in();
  const Philox random(1, "cuBLASLt misuse");
  std::uint64_t draws = 0;
  const auto below = [&](std::uint64_t n) { return random.below(draws++, n); };
  alignas(256) float memory[256] = {};
  alignas(256) std::byte workspace[room];
  std::vector<void*> objects = {nullptr};
  std::int64_t refused = 0, accepted = 0;
  const auto count = [&](int status) { ++(status == success ? accepted : refused); };
  const auto keep = [&](int status, void* const* object) {
    count(status);
    if (status == success) objects.push_back(*object);
  };
  const auto any = [&] { return objects[below(objects.size())]; };
  const auto address = [&]() -> void* { return below(8) == 0 ? nullptr : memory + 64 * below(4); };
  Heuristic found[4] = {};
  for (int i = 0; i < 200000; ++i) {
    void* made = nullptr;
    const float value[2] = {float(below(3)), 0};
    int n = 0;
    switch (below(12)) {
      case 0: keep(lt.create(&made), &made); break;
      case 1: keep(lt.desc_create(&made, 64 + int(below(16)), int(below(2))), &made); break;
      case 2:
      case 3:
        keep(lt.layout_create(&made, below(2) ? 0 : 14, below(4), below(4), std::int64_t(below(6))), &made);
        break;
      case 4: keep(lt.preference_create(&made), &made); break;
      case 5: {
        void* const gone = any();
        const int how = int(below(4));
        const int status = how == 0   ? lt.destroy(gone)
                           : how == 1 ? lt.desc_destroy(gone)
                           : how == 2 ? lt.layout_destroy(gone)
                                      : lt.preference_destroy(gone);
        count(status);
        if (status == success) std::erase(objects, gone);
        break;
      }
      case 6: count(lt.desc_set(any(), int(below(30)), below(8) ? value : nullptr, below(2) ? 4 : 8)); break;
      case 7: count(lt.preference_set(any(), int(below(14)), below(8) ? value : nullptr, below(2) ? 4 : 8)); break;
      case 8:
        count(lt.heuristic(any(), any(), any(), any(), any(), any(), any(), int(below(5)), found,
                           below(8) ? &n : nullptr));
        break;
      case 9: {
        std::size_t written = 0;
        count(lt.capability(below(4) ? &found[below(4)].algo : nullptr, int(below(20)), workspace, below(2) ? 8 : 4,
                            &written));
        break;
      }
      default:
        count(lt.matmul(any(), any(), below(8) ? value : nullptr, address(), any(), address(), any(),
                        below(8) ? value : nullptr, address(), any(), address(), any(), &found[below(4)].algo,
                        workspace, room, nullptr));
    }
    while (objects.size() > 12) {  // so that objects of the right kind meet each other
      void* const gone = objects[1];
      for (const auto end : {lt.destroy, lt.desc_destroy, lt.layout_destroy, lt.preference_destroy}) end(gone);
      objects.erase(objects.begin() + 1);
    }
  }
  CHECK(accepted > 10000);
  CHECK(refused > 10000);
  for (void* const gone : objects)
    for (const auto end : {lt.destroy, lt.desc_destroy, lt.layout_destroy, lt.preference_destroy}) end(gone);
  CHECK(sim::cublaslt_objects() == before);
}
