// cuBLASLt is opened by its name, and each of its calls found by its own, as in a process with a GPU; and what it works
// in.
#include <dlfcn.h>
#include <doctest/doctest.h>

#include <cstdio>
#include <filesystem>

#include "kernels/gemm.h"
#include "kernels/gpu/cublaslt.h"
#include "kernels/sim/cublaslt_stand_in.h"
#include "tests/devices/in_a_child.h"
#include "tests/devices/sim_device.h"
#include "tests/kernels/cuda_twins.h"

using namespace ov;
using namespace ov::test;

namespace {

constexpr const char* soname = "libcublasLt.so.13";

Tensor product_on(Device& device) {
  const Tensor c = Tensor::zeros({40, 24}, Dtype::f32, device);
  kernels::gemm({.c = c, .a = on(device, drawn(40 * 9, 1), {40, 9}), .b = on(device, drawn(9 * 24, 2), {9, 24})});
  return c;
}

// What the child says of a product through the library that `table` stands behind; null: of one that is not there.
std::string said_with(const gpu::lt::Api* table) {
  return in_a_child([&] {
           long (*forwarded)() = nullptr;
           if (table) {
             const std::string path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / soname;
             void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
             if (!library) return void(std::fprintf(stderr, "there is no %s", path.c_str()));
             reinterpret_cast<void (*)(const gpu::lt::Api*)>(::dlsym(library, "ov_forward_to"))(table);
             forwarded = reinterpret_cast<long (*)()>(::dlsym(library, "ov_forwarded"));
           }
           try {
             SimDevice device(ForeignDevice::Policy::lazy);
             gpu::close_cublaslt(device);  // the stand-in that it brings: the library is opened by its name
             const bool same = same_bits(product_on(device), product_on(cpu()));
             std::fprintf(stderr, "%s bits by %ld calls", same ? "the CPU's" : "other", forwarded ? forwarded() : 0);
           } catch (const Error& e) { std::fputs(e.what(), stderr); }
         })
      .first;
}

}  // namespace

TEST_CASE("cuBLASLt's stand-in as a library of its name, opened by it as on GPUs: a product, an old version, none") {
  const std::string well = said_with(&sim::cublaslt_stand_in());
  long calls = 0;
  REQUIRE_MESSAGE(std::sscanf(well.c_str(), "the CPU's bits by %ld calls", &calls) == 1, well);
  CHECK(calls > 15);  // a description, layouts, a preference, the choice, the product

  gpu::lt::Api old = sim::cublaslt_stand_in();
  old.version = [] { return std::size_t{120900}; };
  const std::string refused = said_with(&old);
  CHECK_MESSAGE(contains(refused, cat(soname, ": version 120900; products on a GPU need cuBLAS 13")), refused);

  // NVIDIA's is installed here: not to be asked, nor opened in this process, where it would stay.
  if (in_a_child([] { std::fputs(::dlopen(soname, RTLD_NOW | RTLD_LOCAL) ? "there" : "", stderr); }).first == "there")
    return;
  const std::string none = said_with(nullptr);
  CHECK_MESSAGE(contains(none, cat(soname, ": ")), none);
  CHECK_MESSAGE(contains(none, "products on a GPU need cuBLAS 13"), none);
}

TEST_CASE("gemm: every stream has a workspace of its own, and keeps it (G-46)") {
  SimDevice d(ForeignDevice::Policy::lazy);
  gpu::CublasLt library(sim::cublaslt_stand_in(), d);
  const Tensor a = on(d, drawn(20 * 9, 1), {20, 9}), b = on(d, drawn(9 * 5, 2), {9, 5});
  std::vector<Tensor> products;
  for (int i = 0; i < 4; ++i) products.emplace_back(Shape{20, 5}, Dtype::f32, d);
  d.synchronize();  // all of them are there for either stream
  const auto multiply = [&](int i) {
    library.product({.c = products[static_cast<std::size_t>(i)], .a = a, .b = b}, d.stream());
    return d.memory().bytes[static_cast<std::size_t>(Segment::workspace)] / gpu::cublaslt_workspace_taken;
  };
  for (const int turn : {0, 1}) {
    CHECK(multiply(2 * turn) == 1 + turn);
    const gpu::CudaDevice::InCalls in_calls(d);  // from here on this thread's kernels go to the stream of calls
    CHECK(multiply(2 * turn + 1) == 2);
  }
  d.await_calls();
  for (const Tensor& c : products) CHECK(same_bits(c, products[0]));
}
