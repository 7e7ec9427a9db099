// CudaDevice where nobody looked: copies of many sizes through little pinned memory, chunks that change hands, what is
// left when it ends, the key that out of memory names, each product's own bias; and limits of the simulated GPU.
#include <doctest/doctest.h>

#include "kernels/cuda/ptx.h"
#include "kernels/gpu/cublaslt.h"
#include "kernels/sim/cublaslt_stand_in.h"
#include "kernels/table.h"
#include "tests/devices/in_a_child.h"
#include "tests/devices/sim_device.h"
#include "tests/kernels/cuda_twins.h"

using namespace ov;
using namespace ov::test;
using Policy = ForeignDevice::Policy;

namespace {

constexpr std::size_t MB = std::size_t{1} << 20;

Tensor bytes_on(Device& device, std::size_t n, Segment segment) {
  return {{std::int64_t(n)}, Dtype::u8, device, segment};
}

__global__ void nothing() {}
__global__ void reads(float* to, const float* from) { to[threadIdx.x] = from[threadIdx.x]; }
__global__ void note_block(unsigned* blocks, int* count) { blocks[(*count)++] = blockIdx.x; }
__global__ void copies_from(const char* from, int shift) {
  SHARED(float, s, 8);
  ptx::copy_async(&s[0], from + shift, true);
  ptx::copy_async_commit();
  ptx::copy_async_wait<0>();
}

}  // namespace

TEST_CASE("copies of many sizes go in and out whole, through pinned memory that holds a few of them") {
  for (const Policy policy : {Policy::lazy, Policy::others_first, Policy::random}) {
    ForeignDevice device(policy, 3);  // 1 MB each way, in pieces of 256 KB at most
    std::vector<std::vector<float>> values;
    std::vector<Tensor> there;
    for (unsigned i = 0; i < 40; ++i) {
      values.push_back(drawn(i % 7 == 6 ? 200000 : 1 + std::int64_t{i} * 7919 % 65000, i + 1));
      there.push_back(on(device, values.back(), {std::int64_t(values.back().size())}));
    }
    for (std::size_t i = 0; i < there.size(); ++i) CHECK(there[i].to_vector<float>() == values[i]);
  }
}

TEST_CASE("a device that has been waited for has run its copies too") {
  ForeignDevice device(Policy::lazy);
  const std::vector<float> values = {1, 2, 3, 4};
  const Tensor t({4}, Dtype::f32, device, Segment::data);
  device.copy_in(t.device_bytes(), values.data(), 16, ov::Stream::copy);
  device.synchronize();
  CHECK(device.queued() == 0);
  CHECK(t.to_vector<float>() == values);
}

// Whoever is told of the failure may free what the copy was to reach.
TEST_CASE("a copy to the host is not delivered after its failure was told, nor when the device ends") {
  std::vector<float> here(4, 0), other(4, 0);
  const std::vector<float> values = {1, 2, 3, 4};
  {
    SimDevice device(Policy::lazy);
    const Tensor t = on(device, values, {1, 4});
    device.synchronize();
    device.simulated().fail(1);
    kernels::add({.y = t, .a = t, .b = t});
    device.copy_out(here.data(), t.device_bytes(), 16, ov::Stream::compute);
    CHECK_THROWS_WITH_AS(device.synchronize(), doctest::Contains("planted"), sim::KernelFault);
    std::fill(here.begin(), here.end(), 7.f);  // another's by now
    device.copy_out(other.data(), t.device_bytes(), 16, ov::Stream::compute);
    device.synchronize();
    CHECK(other == values);
    CHECK(here == std::vector<float>(4, 7));
    device.copy_out(here.data(), t.device_bytes(), 16, ov::Stream::compute);
    std::fill(here.begin(), here.end(), 8.f);
  }
  CHECK(here == std::vector<float>(4, 8));
}

// Kernels and batches have chunks of their own; 4 MB are room for one of 2.5.
TEST_CASE("chunks change hands between kernels and batches when memory ends, after the work that used them") {
  for (const Policy policy : {Policy::lazy, Policy::random}) {
    ForeignDevice device(policy, 1, 4 * MB);
    for (const Segment segment : {Segment::activations, Segment::data, Segment::workspace, Segment::data}) {
      const Tensor t = bytes_on(device, 5 * MB / 2, segment);
      t.zero();  // queued still when the next one asks
    }
    device.synchronize();
  }
}

TEST_CASE("out of memory names the key against the segment that has most, or against the one that asks") {
  const auto said = [](Segment most, Segment asks) {
    ForeignDevice device(Policy::lazy, 0, 8 * MB);
    const Tensor large = bytes_on(device, 2 * MB, most), small = bytes_on(device, 1000, Segment::gradients);
    return thrown([&] { bytes_on(device, 16 * MB, asks); }, Exit::machine_failed);
  };
  CHECK(contains(said(Segment::weights, Segment::activations), "; dtype=bf16 halves"));
  CHECK(contains(said(Segment::gradients, Segment::weights), "; train.grad_sum=chain"));
  CHECK(contains(said(Segment::optimizer, Segment::weights), "; train.offload_optimizer=true"));
  CHECK(contains(said(Segment::activations, Segment::weights), "; train.recompute=true"));
  CHECK(contains(said(Segment::data, Segment::weights), "; train.max_tokens and data.max_pixels"));
  // Nothing has gradients or moments: it answers.
  const auto answering = [](Segment most) {
    ForeignDevice device(Policy::lazy, 0, 8 * MB);
    const Tensor large = bytes_on(device, 2 * MB, most);
    return thrown([&] { bytes_on(device, 16 * MB, Segment::workspace); }, Exit::machine_failed);
  };
  CHECK(contains(answering(Segment::activations), "; engine.cache_gb bounds keys and values; engine.max_running"));
  for (const Segment most : {Segment::workspace, Segment::data})
    CHECK(contains(answering(most), "; engine.max_running and engine.chunk bound a pass, data.max_pixels a picture"));
  ForeignDevice empty(Policy::lazy, 0, 8 * MB);
  CHECK(contains(thrown([&] { bytes_on(empty, 16 * MB, Segment::optimizer); }, Exit::machine_failed),
                 "; train.offload_optimizer=true"));
}

TEST_CASE("a device that ends gives all of the library's objects back") {
  const int before = sim::cublaslt_objects();
  {
    SimDevice device;
    const Tensor x = on(device, drawn(40 * 8, 1), {40, 8}), w = on(device, drawn(6 * 8, 2), {6, 8});
    kernels::gemm({.c = Tensor({40, 6}, Dtype::f32, device), .a = x, .b = w, .trans_b = true});
    device.synchronize();
    CHECK(sim::cublaslt_objects() > before);
  }
  CHECK(sim::cublaslt_objects() == before);
}

TEST_CASE("without cuBLASLt a product says what to install, each time, and other work goes on") {
  // A process of its own: NVIDIA's library, where it is installed, stays open.
  const std::string said = in_a_child([] {
                             ForeignDevice device(Policy::lazy);  // which brings no stand-in
                             for (int i = 0; i < 2; ++i) {
                               const std::string why = thrown([&] { gpu::cublaslt(device); }, Exit::machine_failed);
                               // Where the library is there, but no GPU, it is the library that says no.
                               const bool by_name = contains(why, "libcublasLt.so.13: ") &&
                                                    contains(why, "products on a GPU need cuBLAS 13");
                               if (by_name || contains(why, "cuBLASLt: create failed with status "))
                                 std::fputs("told, ", stderr);
                             }
                             const std::vector<float> x = {1, 2};
                             if (on(device, x, {2}).to_vector<float>() == x) std::fputs("and went on", stderr);
                           }).first;
  CHECK(said == "told, told, and went on");
}

TEST_CASE("gemm: products of one shape have each its own bias, at any address") {
  for (const auto layout : {ForeignDevice::Layout::packed, ForeignDevice::Layout::fenced})
    for (const std::int64_t shift : {0, 1}) {  // 1: not at a multiple of 16 bytes, so that a copy is taken
      SimDevice device(Policy::lazy, 0, ForeignDevice::usual_capacity, layout);
      const Tensor x = on(device, std::vector<float>(40 * 8, 0), {40, 8}), w = on(device, drawn(4 * 8, 2), {4, 8});
      std::vector<Tensor> biases;  // all of them stay, each at an address of its own
      for (const float value : {1.f, 2.f, 3.f})
        biases.push_back(on(device, std::vector<float>(5, value), {5}).slice(0, shift, shift + 4));
      for (int i = 0; i < 3; ++i) {
        const Tensor y({40, 4}, Dtype::f32, device);
        kernels::gemm({.c = y, .a = x, .b = w, .trans_b = true, .bias = biases[std::size_t(i)]});
        CHECK(y.to_vector<float>() == std::vector<float>(160, 1.f + float(i)));
      }
    }
}

TEST_CASE("gemm: a product of few rows is added where that is asked for") {
  std::vector<std::vector<float>> results;
  SimDevice gpu;
  for (Device* d : {&ov::cpu(), static_cast<Device*>(&gpu)})
    for (const bool accumulate : {true, false}) {
      const Tensor c = on(*d, drawn(3 * 5, 1), {3, 5}), x = on(*d, drawn(3 * 8, 2), {3, 8}),
                   w = on(*d, drawn(40, 3), {5, 8});
      kernels::gemm({.c = c, .a = x, .b = w, .trans_b = true, .accumulate = accumulate});
      results.push_back(c.to_vector<float>());
    }
  CHECK(results[2] == results[0]);
  CHECK(results[3] == results[1]);
  CHECK(results[0] != results[1]);
}

TEST_CASE("sim: a block that is handed out over one in use is a fault") {
  sim::SimRuntime machine(Policy::eager);
  machine.set_device(0, gpu::Place::current());
  auto* const at = static_cast<std::byte*>(machine.allocate(4096, gpu::Place::current()));
  machine.handed_out(at, 1024, Segment::workspace, nullptr);
  CHECK_THROWS_WITH_AS(machine.handed_out(at + 512, 16, Segment::data, nullptr),
                       doctest::Contains("a block is handed out over an allocation of 1024 bytes of workspace"),
                       std::logic_error);
  machine.handed_out(at + 2048, 16, Segment::data, nullptr);
}

TEST_CASE("sim: grids and blocks beyond a GPU's limits in each axis are refused") {
  const auto refused = [](dim3 grid, dim3 block) {
    try {
      launch(nothing, grid, block, 0, nullptr);
    } catch (const sim::KernelFault& e) { return std::string(e.what()); }
    return std::string();
  };
  CHECK(contains(refused(dim3{0x80000000u}, dim3{1}), "grid beyond"));
  CHECK(contains(refused(dim3{1, 1, 65536}, dim3{1}), "grid beyond"));
  CHECK(contains(refused(dim3{1}, dim3{1, 1, 65}), "64 in z"));
  CHECK(refused(dim3{2, 2, 2}, dim3{1, 1, 64}) == "");
}

TEST_CASE("sim: static and dynamic shared memory together are what a block has") {
  alignas(16) const char bytes[64] = {};
  const std::size_t all = 227 << 10;
  launch(copies_from, dim3{1}, dim3{1}, all - 32, nullptr, bytes, 0);
  CHECK_THROWS_WITH_AS(launch(copies_from, dim3{1}, dim3{1}, all - 16, nullptr, bytes, 0),
                       doctest::Contains("more shared memory than a block has"), sim::KernelFault);
}

TEST_CASE("sim: blocks run in an order that is drawn, each once") {
  for (const std::uint64_t seed : {1, 2}) {
    const sim::ScheduleScope scope({sim::Order::random, seed});
    std::vector<unsigned> blocks(64);
    int count = 0;
    launch(note_block, dim3{64}, dim3{1}, 0, nullptr, blocks.data(), &count);
    const std::vector<unsigned> as_run = blocks;
    std::sort(blocks.begin(), blocks.end());
    for (unsigned i = 0; i < 64; ++i) CHECK(blocks[i] == i);
    CHECK(as_run != blocks);
    std::reverse(blocks.begin(), blocks.end());
    CHECK(as_run != blocks);
  }
}

TEST_CASE("sim: what a refused launch would have used, the next one does not") {
  SimDevice device(Policy::lazy);
  float here = 0;
  Tensor x = on(device, std::vector<float>{1}, {1});
  const Tensor y = on(device, std::vector<float>{2}, {1}), z = Tensor::like(y);
  CHECK_THROWS_WITH_AS(launch(reads, dim3(1), dim3(1), 0, device.stream(), x.device_data<float>(), &here),
                       doctest::Contains("points to the host's memory"), std::logic_error);
  x = {};
  launch(reads, dim3(1), dim3(1), 0, device.stream(), z.device_data<float>(), y.device_data<float>());
  CHECK(z.to_vector<float>() == std::vector<float>{2});
}

TEST_CASE("ptx: cp.async from an address that is no multiple of 16 is a fault") {
  alignas(16) const char bytes[64] = {};
  launch(copies_from, dim3{1}, dim3{1}, 0, nullptr, bytes, 16);
  for (const int shift : {1, 4, 8})
    CHECK_THROWS_WITH_AS(launch(copies_from, dim3{1}, dim3{1}, 0, nullptr, bytes, shift),
                         doctest::Contains("cp.async: an address is not a multiple of 16"), sim::KernelFault);
}
