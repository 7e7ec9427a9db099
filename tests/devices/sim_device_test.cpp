// Each guard of the simulated GPU fires.
#include "tests/devices/sim_device.h"

#include <doctest/doctest.h>

#include <cmath>

#include "kernels/cuda/rows.h"
#include "kernels/table.h"
#include "tests/check.h"
#include "tests/devices/in_a_child.h"

using namespace ov;
using namespace ov::test;
using Policy = ForeignDevice::Policy;

namespace {

// y_i = x_i + 1 for i < n; without the mask for every thread of the launch.
__global__ void add_one(float* y, const float* x, int n, int masked) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (masked && i >= n) return;
  y[i] = (i < n ? x[i] : 0.f) + 1;
}

// Looks at its right neighbour, the last one too.
__global__ void differences(float* y, const float* x, int n) {
  const int i = static_cast<int>(threadIdx.x);
  if (i < n) y[i] = x[i + 1] - x[i];
}

__global__ void copy_packets(float* y, const float* x) {
  kernels::simulated::store<4>(y, threadIdx.x, kernels::simulated::load<4>(x, threadIdx.x));
}

struct Table {
  const float* rows[2];
  std::int64_t count;
};
__global__ void first_of(float* y, Table table) { *y = table.rows[table.count - 1][0]; }

}  // namespace

TEST_CASE("sim device: a kernel runs late, on memory that the host cannot touch, and structs of addresses arrive") {
  for (const Policy policy : {Policy::eager, Policy::lazy, Policy::others_first, Policy::random}) {
    SimDevice d(policy, 3);
    const Tensor x = Tensor::of<float>({1, 2, 3}, {3}, d), y = Tensor::like(x), z({1}, Dtype::f32, d);
    launch(add_one, dim3(1), dim3(32), 0, d.stream(), y.device_data<float>(), x.device_data<float>(), 3, 1);
    launch(first_of, dim3(1), dim3(1), 0, d.stream(), z.device_data<float>(),
           Table{{x.device_data<float>(), y.device_data<float>()}, 2});
    if (policy != Policy::random) CHECK((policy == Policy::eager) == (d.queued() == 0));
    CHECK(y.to_vector<float>() == std::vector<float>{2, 3, 4});
    CHECK(z.to_vector<float>() == std::vector<float>{2});
    const auto [text, signal] =
        in_a_child([&] { static_cast<void>(*static_cast<volatile float*>(y.device_data<float>())); });
    CHECK(signal == SIGSEGV);
    CHECK(contains(text, "the host touches the device's memory: byte 0 of an allocation of 12 bytes"));
  }
}

TEST_CASE("sim device: an unmasked tail is found by what it writes past the end") {
  for (const int masked : {1, 0}) {
    SimDevice d;
    std::string error;
    try {
      const Tensor x = Tensor::of<float>({1, 2, 3}, {3}, d), y = Tensor::like(x);
      launch(add_one, dim3(1), dim3(32), 0, d.stream(), y.device_data<float>(), x.device_data<float>(), 3, masked);
    } catch (const std::exception& e) { error = e.what(); }
    try {
      d.synchronize();
    } catch (const std::exception& e) { error = e.what(); }
    CHECK(contains(error, "past the end of an allocation of 12 bytes") == !masked);
  }
}

TEST_CASE("sim device: fenced, a kernel that reads past the end faults, and the place is named") {
  for (const int n : {4, 3}) {  // 4 differences of 4 numbers, or 3
    const auto [text, signal] = in_a_child([&] {
      SimDevice d(Policy::eager, 0, std::size_t{1} << 24, ForeignDevice::Layout::fenced);
      const Tensor x = Tensor::of<float>({1, 2, 3, 5}, {4}, d), y({3}, Dtype::f32, d), four = Tensor::like(x);
      launch(differences, dim3(1), dim3(32), 0, d.stream(), (n == 3 ? y : four).device_data<float>(),
             x.device_data<float>(), n);
    });
    CHECK(signal == (n == 4 ? SIGSEGV : 0));
    CHECK(contains(text, "a kernel leaves its memory: byte 16, past the end of an allocation of 16 bytes") == (n == 4));
  }
}

TEST_CASE("sim device: a misaligned packet is a fault (G-14, G-20)") {
  SimDevice d;
  const Tensor x = Tensor::zeros({64}, Dtype::f32, d), y = Tensor::like(x);
  for (const int shift : {0, 4, 1}) {
    launch(copy_packets, dim3(1), dim3(8), 0, d.stream(), y.device_data<float>(), x.device_data<float>() + shift);
    if (shift % 4 == 0) d.synchronize();
    else CHECK_THROWS_WITH_AS(d.synchronize(), doctest::Contains("misaligned address"), sim::KernelFault);
    d.synchronize();  // told once
  }
}

TEST_CASE("sim device: a parameter that is no device address, or a working one, is a fault at the launch (G-06)") {
  SimDevice d;
  const Tensor x = Tensor::of<float>({1, 2, 3}, {3}, d);
  std::vector<float> here(3);
  const auto run = [&](float* y, const float* from) {
    launch(add_one, dim3(1), dim3(32), 0, d.stream(), y, from, 3, 1);
  };
  CHECK_THROWS_WITH_AS(run(here.data(), x.device_data<float>()), doctest::Contains("points to the host's memory"),
                       std::logic_error);
  auto* working = static_cast<float*>(d.working(x.device_data<float>()));
  CHECK_THROWS_WITH_AS(run(working, x.device_data<float>()), doctest::Contains("a working address"), std::logic_error);
}

TEST_CASE("sim device: memory released before the launch is named, and what nobody wrote is NaN") {
  SimDevice d(Policy::lazy);
  const Tensor x({3}, Dtype::f32, d), y = Tensor::like(x);
  launch(add_one, dim3(1), dim3(32), 0, d.stream(), y.device_data<float>(), x.device_data<float>(), 3, 1);
  for (const float v : y.to_vector<float>()) CHECK(std::isnan(v));
  Tensor gone({3}, Dtype::f32, d);
  const float* stale = gone.device_data<float>();
  gone = {};
  CHECK_THROWS_WITH_AS(launch(add_one, dim3(1), dim3(32), 0, d.stream(), y.device_data<float>(), stale, 3, 1),
                       doctest::Contains("launch is given an allocation of 12 bytes"), std::logic_error);
}
