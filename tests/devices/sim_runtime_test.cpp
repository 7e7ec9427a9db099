// Each guard of the simulated runtime fires, and its clocks are CUDA's.
#include "kernels/sim/runtime.h"

#include <doctest/doctest.h>

#include <cmath>
#include <thread>

#include "base/error.h"
#include "kernels/cuda/language.h"
#include "tests/devices/in_a_child.h"

using namespace ov;
using sim::SimRuntime;
using Policy = SimRuntime::Policy;

namespace {

constexpr std::size_t capacity = std::size_t{1} << 24;
constexpr Policy policies[] = {Policy::eager, Policy::lazy, Policy::others_first, Policy::random};

// A GPU with a block of 4 floats, two streams, an event and pinned memory for 4 floats.
struct Gpu {
  explicit Gpu(Policy policy, std::uint64_t seed = 0) : runtime(policy, seed, capacity) {
    r.set_device(0);
    const auto layout = r.layout(16);
    block = static_cast<std::byte*>(r.allocate(layout.bytes)) + layout.shift;
    here = static_cast<float*>(r.pinned_allocate(16));
    a = r.stream_create(true), b = r.stream_create(false), e = r.event_create(false);
  }
  void put(gpu::Stream s, float value) {
    std::fill_n(here, 4, value);
    r.copy(block, here, 16, gpu::Copy::to_device, s);
  }
  SimRuntime runtime;
  gpu::Runtime& r = runtime;
  void* block;
  float* here;
  gpu::Stream a, b;
  gpu::Event e;
};

template <class F>
std::string fault_of(F&& f) {
  try {
    f();
  } catch (const std::exception& e) { return e.what(); }
  return "";
}

}  // namespace

TEST_CASE("sim runtime: a copy goes in and out, and the host sees NaN until it has waited (G-03)") {
  for (const Policy policy : policies) {
    Gpu g(policy, 2);
    g.r.handed_out(g.block, 16, Segment::data, nullptr);
    g.put(g.b, 7);
    g.r.event_record(g.e, g.b);
    g.r.stream_wait(g.a, g.e);
    auto* back = static_cast<float*>(g.r.pinned_allocate(16));
    g.r.copy(back, g.block, 16, gpu::Copy::to_host, g.a);
    if (policy == Policy::lazy || policy == Policy::others_first) CHECK(std::isnan(back[0]));
    g.r.stream_synchronize(g.a);
    CHECK(back[3] == 7);
    CHECK(g.runtime.counts().waits == 1);
    CHECK(g.runtime.counts().reads == 1);
  }
}

TEST_CASE("sim runtime: memory that is not pinned is no end of a copy (G-01)") {
  Gpu g(Policy::lazy);
  g.r.handed_out(g.block, 16, Segment::data, nullptr);
  float pageable[4] = {};
  for (const gpu::Copy kind : {gpu::Copy::to_device, gpu::Copy::to_host})
    CHECK(fault_of([&] {
            kind == gpu::Copy::to_device ? g.r.copy(g.block, pageable, 16, kind, g.a)
                                         : g.r.copy(pageable, g.block, 16, kind, g.a);
          }).find("not pinned") != std::string::npos);
  CHECK(fault_of([&] { g.r.copy(g.block, g.here + 1, 16, gpu::Copy::to_device, g.a); }) != "");  // past its end
}

TEST_CASE("sim runtime: a source that is written again before its copy has run is a fault (G-02)") {
  for (const bool waits : {true, false}) {
    Gpu g(Policy::lazy);
    g.r.handed_out(g.block, 16, Segment::data, nullptr);
    g.put(g.a, 1);
    if (waits) g.r.stream_synchronize(g.a);
    g.here[2] = 5;
    const std::string fault = fault_of([&] { g.r.stream_synchronize(g.a); });
    CHECK((fault.find("changed before the copy ran; copy_in number 1, queued at sim_runtime_test.cpp:") !=
           std::string::npos) == !waits);
  }
}

TEST_CASE("sim runtime: streams without an event between them run in either order (G-07)") {
  const auto read_after_retire = [](Policy policy, bool waits) {
    Gpu g(policy);
    g.r.handed_out(g.block, 16, Segment::workspace, g.a);
    g.r.event_record(g.e, g.a);
    g.r.stream_wait(g.b, g.e);
    g.put(g.b, 3);
    auto* back = static_cast<float*>(g.r.pinned_allocate(16));
    g.r.copy(back, g.block, 16, gpu::Copy::to_host, g.b);
    g.r.event_record(g.e, g.b);
    if (waits) g.r.stream_wait(g.a, g.e);
    g.r.retired(g.block, g.a);
    return fault_of([&] { g.r.stream_synchronize(g.a), g.r.stream_synchronize(g.b); });
  };
  std::string fault;
  for (const Policy policy : policies) {
    CHECK(read_after_retire(policy, true) == "");
    fault += read_after_retire(policy, false);
  }
  CHECK(fault.find("runs when its memory has been released") != std::string::npos);
}

TEST_CASE("sim runtime: memory handed out again while queued work still uses it is a fault") {
  for (const bool waits : {true, false}) {
    Gpu g(Policy::lazy);
    g.r.handed_out(g.block, 16, Segment::data, nullptr);
    g.put(g.a, 1);
    g.r.retired(g.block, g.a);
    if (waits) g.r.stream_synchronize(g.a);
    const std::string fault = fault_of([&] { g.r.handed_out(g.block, 12, Segment::data, nullptr); });
    CHECK((fault.find("queued work still uses") != std::string::npos) == !waits);
  }
}

TEST_CASE("sim runtime: an event that was never recorded is nothing to wait for (G-09)") {
  Gpu g(Policy::lazy);
  for (const auto& use : {std::function<void()>([&] { g.r.stream_wait(g.a, g.e); }),
                          {[&] { g.r.event_done(g.e); }},
                          {[&] { g.r.event_synchronize(g.e); }}})
    CHECK(fault_of(use).find("never recorded") != std::string::npos);
  g.r.event_record(g.e, g.a);
  CHECK(g.r.event_done(g.e));
}

TEST_CASE("sim runtime: an event holds what was queued when it was recorded last") {
  Gpu g(Policy::lazy);
  g.r.handed_out(g.block, 16, Segment::data, nullptr);
  g.r.event_record(g.e, g.b);
  g.r.stream_wait(g.a, g.e);  // for nothing
  g.put(g.b, 1);
  g.r.stream_synchronize(g.a);
  CHECK(g.runtime.queued() == 1);
  CHECK(g.r.event_done(g.e));
  g.r.event_record(g.e, g.b);
  CHECK_FALSE(g.r.event_done(g.e));
  g.r.stream_wait(g.a, g.e);
  g.r.stream_synchronize(g.a);
  CHECK(g.runtime.queued() == 0);
}

TEST_CASE("sim runtime: a thread has to choose its GPU, and the stream that CUDA has by default is none (G-05, G-10)") {
  SimRuntime second(Policy::eager, 0, capacity, SimRuntime::Layout::packed, 1);
  second.set_device(1, gpu::Place::current());
  gpu::Runtime& r = second;
  const gpu::Stream s = r.stream_create(false);
  r.stream_synchronize(s);
  std::string fault;
  std::thread([&] { fault = fault_of([&] { r.stream_synchronize(s); }); }).join();
  CHECK(fault.find("is for GPU 1, and this thread's is number 0") != std::string::npos);
  CHECK(fault_of([&] { r.stream_synchronize(nullptr); }).find("none of this GPU's") != std::string::npos);
  r.stream_destroy(s);
  r.set_device(0);
}

TEST_CASE("sim runtime: attributes and limits are those of the GPU that it is made (G-15)") {
  using A = gpu::Attribute;
  Gpu g(Policy::lazy);
  const auto number = [&](A a) { return g.r.attribute(a, 0); };
  CHECK(number(A::major) == 9);
  CHECK(number(A::shared_bytes_opt_in) == 227 << 10);
  const auto launches = [&](std::size_t bytes) {
    return fault_of([&] {
      launch(
          +[] {}, dim3(1), dim3(1), bytes, g.a);
      g.r.stream_synchronize(g.a);
    });
  };
  CHECK(launches(200 << 10) == "");
  for (const auto& [major, minor, kilobytes] : {std::tuple{8, 0, 163}, {8, 6, 99}, {8, 9, 99}, {10, 0, 227}}) {
    g.runtime.become({major, minor});
    CHECK(number(A::major) == major);
    CHECK(number(A::minor) == minor);
    CHECK(number(A::shared_bytes_opt_in) == kilobytes << 10);
    CHECK(launches(std::size_t(kilobytes) << 10) == "");
    const std::string fault = launches((std::size_t(kilobytes) << 10) + 4);
    CHECK(fault.find(cat("more than ", kilobytes, " KB of shared memory (compute capability ", major, ".", minor)) !=
          std::string::npos);
    CHECK(fault.find("queued at sim_runtime_test.cpp:") != std::string::npos);
  }
  CHECK(fault_of([&] { g.runtime.become({7, 5}); }) == "sim: no GPU of compute capability 7.5");
  CHECK(number(A::major) == 10);
}

TEST_CASE("sim runtime: a stream that ends with work in it is a fault") {
  Gpu g(Policy::lazy);
  g.r.handed_out(g.block, 16, Segment::data, nullptr);
  g.put(g.a, 1);
  g.r.stream_destroy(g.a);
  CHECK(fault_of([&] { g.r.stream_synchronize(g.b); }).find("ends with work in it") != std::string::npos);
}

TEST_CASE("sim runtime: releasing memory waits for nothing (G-12)") {
  Gpu g(Policy::lazy);
  g.r.handed_out(g.block, 16, Segment::data, nullptr);
  g.put(g.a, 1);
  void* other = g.r.allocate(256);
  g.r.release(other);
  g.r.pinned_release(g.r.pinned_allocate(16));
  CHECK(g.runtime.queued() == 1);
}
