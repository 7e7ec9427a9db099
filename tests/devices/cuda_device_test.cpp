// CudaDevice where nobody looked: copies of many sizes through little pinned memory, chunks that change hands, what is
// left when it ends, the key that out of memory names, each product's own bias; and limits of the simulated GPU.
#include <doctest/doctest.h>

#include "kernels/cuda/ptx.h"
#include "kernels/sim/cublaslt_stand_in.h"
#include "kernels/table.h"
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

TEST_CASE("gemm: products of one shape have each its own bias") {
  for (const auto layout : {ForeignDevice::Layout::packed, ForeignDevice::Layout::fenced}) {
    SimDevice device(Policy::lazy, 0, ForeignDevice::usual_capacity, layout);
    const Tensor x = on(device, std::vector<float>(40 * 8, 0), {40, 8}), w = on(device, drawn(4 * 8, 2), {4, 8});
    for (const float value : {1.f, 2.f, 3.f}) {
      const Tensor y({40, 4}, Dtype::f32, device), bias = on(device, std::vector<float>(4, value), {4});
      kernels::gemm({.c = y, .a = x, .b = w, .trans_b = true, .bias = bias});
      CHECK(y.to_vector<float>() == std::vector<float>(160, value));
    }
  }
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

TEST_CASE("ptx: cp.async from an address that is no multiple of 16 is a fault") {
  alignas(16) const char bytes[64] = {};
  launch(copies_from, dim3{1}, dim3{1}, 0, nullptr, bytes, 16);
  for (const int shift : {1, 4, 8})
    CHECK_THROWS_WITH_AS(launch(copies_from, dim3{1}, dim3{1}, 0, nullptr, bytes, shift),
                         doctest::Contains("cp.async: an address is not a multiple of 16"), sim::KernelFault);
}
