// Each guard of the foreign device fires.
#include "tests/devices/foreign_device.h"

#include <doctest/doctest.h>

#include <cmath>

#include "kernels/rows.h"
#include "kernels/table.h"
#include "tensor/transfer.h"
#include "tests/check.h"
#include "tests/devices/in_a_child.h"

using namespace ov;
using test::ForeignDevice;
using test::in_a_child;
using Policy = ForeignDevice::Policy;

namespace {

bool all_nan(const std::vector<float>& v) {
  return std::all_of(v.begin(), v.end(), [](float x) { return std::isnan(x); });
}

}  // namespace

TEST_CASE("foreign: a tensor goes there and comes back under every policy, and work is late where it should be") {
  for (const Policy policy : {Policy::eager, Policy::lazy, Policy::others_first, Policy::random}) {
    ForeignDevice device(policy, 5);
    const Tensor a = Tensor::of<float>({1, 2, 3, 4}, {2, 2}, device), y = Tensor::like(a);
    kernels::add({.y = y, .a = a, .b = a});
    if (policy != Policy::random) CHECK((policy == Policy::eager) == (device.queued() == 0));
    const Tensor column = y.slice(1, 0, 1);
    CHECK(column.to_vector<float>() == std::vector<float>{2, 6});
    CHECK(y.to(Dtype::f64).to(cpu()).to_vector<double>() == std::vector<double>{2, 4, 6, 8});
    y.zero();
    y.slice(1, 1, 2).copy_from(Tensor::of<float>({7, 8}, {2, 1}));
    CHECK(y.to_vector<float>() == std::vector<float>{0, 7, 0, 8});
    CHECK(read_scalar(a.slice(0, 0, 1).slice(1, 1, 2)) == 2);
  }
}

TEST_CASE("foreign: a host that follows a device's address faults, and the place is named") {
  ForeignDevice device(Policy::lazy);
  const Tensor w({7}, Dtype::f32, device, Segment::optimizer);
  CHECK_THROWS_WITH_AS(w.data<float>(), doctest::Contains("lies on foreign"), std::logic_error);
  const auto [text, signal] = in_a_child([&] { *static_cast<volatile float*>(w.device_data<float>() + 2) = 1; });
  CHECK(signal == SIGSEGV);
  CHECK(text.find("the host touches the device's memory: byte 8 of an allocation of 28 bytes of optimizer") !=
        text.npos);
  const auto [other, fine] = in_a_child([&] { w.zero(); });
  CHECK(fine == 0);
  CHECK(other == "");
}

TEST_CASE("foreign: what is read without waiting is NaN") {
  ForeignDevice device(Policy::lazy);
  const Tensor x = Tensor::of<float>({1, 2}, {2}, device);
  std::vector<float> here(2);
  device.copy_out(here.data(), x.device_data<float>(), 8, Stream::compute);
  CHECK(all_nan(here));
  device.synchronize();
  CHECK(here == std::vector<float>{1, 2});
  CHECK(all_nan(Tensor({3}, Dtype::f32, device).to_vector<float>()));  // never written
}

TEST_CASE("foreign: a kernel that does not wait for the copy of its argument finds NaN in some order") {
  for (const bool waits : {true, false}) {
    bool wrong = false;
    for (const Policy policy : {Policy::lazy, Policy::others_first}) {
      ForeignDevice device(policy);
      const Tensor x({2}, Dtype::f32, device);
      const float values[] = {1, 2};
      device.copy_in(x.device_data<float>(), values, 8, Stream::copy);
      if (waits) device.wait(Stream::compute, Stream::copy);
      const Tensor y = x.to(Dtype::f32);
      wrong |= y.to_vector<float>() != std::vector<float>{1, 2};
    }
    CHECK(wrong == !waits);
  }
}

TEST_CASE(
    "foreign: memory that is released before it is given to a kernel is named; a copy that is under way is awaited") {
  ForeignDevice device(Policy::lazy);
  Tensor w({4}, Dtype::f32, device, Segment::workspace);
  const Tensor stale = w.over(std::make_shared<Storage>(device, w.storage()->data, 16, std::make_shared<int>()));
  stale.zero();  // still there: fine
  w = {};
  CHECK_THROWS_WITH_AS(stale.zero(), doctest::Contains("fill is given an allocation of 16 bytes of workspace"),
                       std::logic_error);
  device.synchronize();
  CHECK_THROWS_WITH_AS(stale.zero(), doctest::Contains("released before"), std::logic_error);

  {
    const Tensor t({1}, Dtype::f32, device);
    const float value = 1;
    device.copy_in(t.device_data<float>(), &value, 4, Stream::copy);
  }  // nobody has waited for the copy: the device does, before it hands the memory out again
  Tensor::zeros({1}, Dtype::f32, device);
  device.synchronize();
}

TEST_CASE("foreign: a released block may still be read by what was queued before, and comes again afterwards") {
  ForeignDevice device(Policy::lazy, 0, 4096);
  for (int i = 0; i < 50; ++i) {  // 50 KB through a memory of 4
    Tensor x = Tensor::of(std::vector<float>(256, static_cast<float>(i)), {256}, device);
    const Tensor y = x.to(Dtype::f32);
    x = {};
    CHECK(y.to_vector<float>() == std::vector<float>(256, static_cast<float>(i)));
  }
  CHECK(device.memory().total == 0);
  const Tensor kept({16}, Dtype::f32, device, Segment::optimizer);
  const std::string said = test::thrown([&] { Tensor({4096}, Dtype::f32, device); }, Exit::machine_failed);
  for (const char* part : {"device foreign: out of memory: 16384 bytes asked for activations, 64 in use (weights 0, ",
                           "optimizer 64, ", "largest hole ", "train.offload_optimizer=true"})
    CHECK_MESSAGE(said.find(part) != said.npos, said);
}

TEST_CASE("foreign: a write past the end and an error inside a kernel come out of the next wait") {
  ForeignDevice device(Policy::lazy);
  {
    const Tensor t({3}, Dtype::f32, device);
    const Tensor longer = Tensor({4}, Dtype::f32, device).over(t.storage());
    longer.zero();
  }
  CHECK_THROWS_WITH_AS(device.synchronize(), doctest::Contains("past the end of an allocation of 12 bytes"),
                       std::logic_error);
  const Tensor table = Tensor::of<float>({1, 2}, {2, 1}, device), y({1, 1}, Dtype::f32, device);
  kernels::embedding_forward({.y = y, .ids = Tensor::of<std::int64_t>({2}, {1}, device), .table = table});
  CHECK_THROWS_AS(device.synchronize(), Error);
  CHECK(table.to_vector<float>() == std::vector<float>{1, 2});
}

TEST_CASE("foreign: arguments on two devices are named") {
  ForeignDevice device(Policy::lazy), other(Policy::lazy);
  const Tensor x = Tensor::of<float>({1}, {1}, device), here = Tensor::of<float>({1}, {1});
  CHECK_THROWS_AS(kernels::add({.y = x, .a = x, .b = here}), Error);
  CHECK_THROWS_AS(kernels::add({.y = x, .a = x, .b = Tensor::of<float>({1}, {1}, other)}), Error);
  CHECK(x.to(other).to_vector<float>() == std::vector<float>{1});  // from device to device, over the host
}
