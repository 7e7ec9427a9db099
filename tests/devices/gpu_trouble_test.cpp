// A GPU that is of no use, and one whose memory ends: at every allocation of a step, and where calls between ranks hold
// what they do not use.
#include <doctest/doctest.h>

#include "cli/keys.h"
#include "kernels/gpu/cublaslt.h"
#include "kernels/sim/cublaslt_stand_in.h"
#include "tests/devices/sim_device.h"
#include "tests/train/training_run.h"
#include "train/checksums.h"

using namespace ov;
using namespace ov::test;
using Policy = ForeignDevice::Policy;

namespace {

// Turing, say: it has tensor cores, but not those of our kernels.
struct OldMachine : sim::SimRuntime {
  using SimRuntime::SimRuntime;
  int attribute(gpu::Attribute a, int index, gpu::Place at) override {
    return a == gpu::Attribute::major ? 7 : a == gpu::Attribute::minor ? 5 : SimRuntime::attribute(a, index, at);
  }
};

// A GPU whose every allocation is a chunk of its own, taken of the runtime.
struct Chunked {
  Chunked() { gpu::bring_cublaslt(device, sim::cublaslt_stand_in()); }
  sim::SimRuntime machine{Policy::lazy};
  gpu::CudaDevice device{machine,
                         kernels::simulated::launchers(),
                         {.kind = Device::Kind::foreign,
                          .name = "chunked",
                          .index = 0,
                          .chunk = 256,
                          .data_chunk = 256,
                          .staging = std::size_t{1} << 20}};
};

// Whether the end of an error, behind its last "; ", names a key of the program.
bool names_a_key(const std::string& said) {
  std::string word;
  for (const char c : said.substr(said.rfind("; ") + 1) + " ") {
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_') {
      word += c;
      continue;
    }
    if (cli::keys().find(word)) return true;
    word.clear();
  }
  return false;
}

}  // namespace

TEST_CASE("a GPU that is older than the kernels is named, with what they need") {
  sim::SimRuntime machine(Policy::eager);
  CHECK(gpu::too_old(machine, 0) == "");
  OldMachine old(Policy::eager);
  CHECK(gpu::too_old(old, 0) == "GPU 0, simulated GPU, has compute capability 7.5; the kernels need 8.0 or later");
}

TEST_CASE("a step that gets no memory at any one of its allocations names segments and a key, and changes nothing") {
  FixedSteps data({as_step({mixed_row(1), mixed_row(2)})});
  std::int64_t failed = 0;
  std::map<std::string, int> asked;
  for (std::int64_t chunks = 0;; ++chunks) {
    CAPTURE(chunks);
    Chunked gpu;
    Onevision model(least_config());
    model.parameters().allocate(Dtype::f32, gpu.device);
    initialize(model.parameters(), {.matrix = "uniform_fan_in"}, 1);
    Training training(model, data, short_run(1));
    const auto state = [&] {
      return std::array{tensor_checksum(model.parameters().values()),
                        tensor_checksum(training.optimizer().first_moment()),
                        tensor_checksum(training.optimizer().second_moment())};
    };
    const auto before = state();
    gpu.device.synchronize();
    gpu.machine.exhaust(chunks);
    std::string said;
    try {
      training.step();
    } catch (const Error& e) { said = e.what(); }
    gpu.machine.exhaust(-1);
    CHECK((state() == before) == !said.empty());
    if (said.empty()) break;
    ++failed;
    const std::size_t at = said.find(" bytes asked for ");
    REQUIRE_MESSAGE(at != std::string::npos, said);
    const std::size_t name = at + std::string(" bytes asked for ").size();
    ++asked[said.substr(name, said.find(',', name) - name)];
    CHECK_MESSAGE(contains(said, "device chunked: out of memory: "), said);
    CHECK_MESSAGE(contains(said, " in use (weights "), said);
    CHECK_MESSAGE(names_a_key(said), said);
  }
  CHECK(failed > 50);
  CHECK(asked.size() >= 4);
  CHECK_FALSE(names_a_key("device chunked: out of memory: 3 bytes; a larger GPU"));
}

TEST_CASE("memory that calls between ranks held and do not use goes to kernels when there is no other") {
  ForeignDevice device(Policy::lazy, 0, std::size_t{4} << 20);
  const std::size_t most = std::size_t{5} << 19;  // more than half of it
  {
    const gpu::CudaDevice::InCalls within(device);
    const Tensor sum({std::int64_t(most)}, Dtype::u8, device, Segment::workspace);
  }
  const Tensor x({std::int64_t(most)}, Dtype::u8, device, Segment::activations);
  x.zero();
  device.synchronize();
  CHECK(x.numel() == std::int64_t(most));
}
