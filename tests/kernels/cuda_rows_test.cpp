// How a kernel sees a tensor's rows (kernels/cuda/rows.h): where each begins, and what is too much.
#include "kernels/cuda/rows.h"

#include <doctest/doctest.h>

#include "tests/check.h"
#include "tests/devices/sim_device.h"

using namespace ov;
using namespace ov::test;
using namespace ov::kernels;

namespace {

template <class F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (const Error& e) { return e.what(); }
  return "";
}

__global__ void move_packet(float* to, const float* from) { simulated::store<4>(to, 0, simulated::load<4>(from, 0)); }

}  // namespace

TEST_CASE("rows: two strides reach every row up to the last that can be, without reading any") {
  // 3 heads of 8 numbers in rows of 40.
  const simulated::DeviceRows<const std::byte> rows{nullptr, 3, 40, 8};
  for (const std::int64_t n : {std::int64_t{0}, std::int64_t{2}, std::int64_t{3}, std::int64_t{65534},
                               std::int64_t{65536}, std::int64_t{262145}, (std::int64_t{1} << 31) - 1})
    CHECK(reinterpret_cast<std::intptr_t>(rows[n]) == n / 3 * 40 + n % 3 * 8);
}

TEST_CASE("rows: an axis of one, whatever its stride, joins its neighbours") {
  const Tensor all({4, 2, 5, 8}, Dtype::f32, ov::cpu()), t = all.slice(1, 1, 2).slice(2, 0, 3);  // [4,1,3,8]
  const auto rows = simulated::rows_of<float>(t);
  for (std::int64_t i = 0; i < 4; ++i)
    for (std::int64_t j = 0; j < 3; ++j)
      CHECK(rows[3 * i + j] == t.slice(0, i, i + 1).slice(2, j, j + 1).device_data<float>());
}

TEST_CASE("rows: as many as 32 bits do not count, and longer ones than a tile's end can be counted in, are refused") {
  SimDevice d(ForeignDevice::Policy::eager, 0, std::size_t{4} << 30);  // address space: nothing is touched
  const std::int64_t N = std::int64_t{1} << 31;
  const Tensor many({N, 1}, Dtype::u8, d);
  CHECK(refusal([&] { simulated::rows_of<std::uint8_t>(many.slice(0, 0, N - 1)); }) == "");
  CHECK(contains(refusal([&] { simulated::rows_of<std::uint8_t>(many); }), "less than 2^31 rows, got [2147483648, 1]"));
  const float* row = nullptr;
  CHECK(refusal([&] { simulated::columns_of<4>(std::int64_t{1} << 30, row); }) == "");
  CHECK(contains(refusal([&] { simulated::columns_of<4>((std::int64_t{1} << 30) + 1, row); }),
                 "rows of at most 2^30 numbers, got 1073741825"));
}

TEST_CASE("rows: a packet that is read or written at no multiple of its 16 bytes is a fault (G-20)") {
  alignas(16) float from[8] = {1, 2, 3, 4, 5}, to[8] = {};
  const auto fault = [&](int from_at, int to_at) -> std::string {
    try {
      launch(move_packet, dim3(1), dim3(1), 0, nullptr, to + to_at, from + from_at);
    } catch (const sim::KernelFault& e) { return e.what(); }
    return "";
  };
  CHECK(fault(4, 4) == "");
  CHECK(to[4] == 5);
  CHECK(contains(fault(1, 0), "misaligned address: a packet needs a multiple of 16 bytes"));
  CHECK(contains(fault(0, 2), "misaligned address: a packet needs a multiple of 16 bytes"));
}
