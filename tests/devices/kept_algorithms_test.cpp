// The algorithms of products are kept beside a run's log, and a run that goes on computes with them: simulated GPUs.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/hash.h"
#include "base/io/file.h"
#include "kernels/gemm.h"
#include "kernels/gpu/cublaslt.h"
#include "kernels/sim/cublaslt_stand_in.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/devices/in_a_child.h"
#include "tests/devices/sim_device.h"
#include "tests/kernels/cuda_twins.h"
#include "train/kept_choices.h"

using namespace ov;
using namespace ov::test;
using Policy = ForeignDevice::Policy;

namespace {

// The stand-in, which counts how often it is asked to choose.
int asked = 0;
gpu::lt::Api counting() {
  gpu::lt::Api api = sim::cublaslt_stand_in();
  api.heuristic = [](gpu::lt::Handle h, gpu::lt::Desc p, gpu::lt::Layout a, gpu::lt::Layout b, gpu::lt::Layout c,
                     gpu::lt::Layout d, gpu::lt::Preference wish, int wanted, gpu::lt::Heuristic* found, int* count) {
    ++asked;
    return sim::cublaslt_stand_in().heuristic(h, p, a, b, c, d, wish, wanted, found, count);
  };
  return api;
}

// A GPU of its own, with a library of its own: a process.
struct Gpu {
  explicit Gpu(const gpu::lt::Api& api = counting()) : device(Policy::lazy) { gpu::bring_cublaslt(device, api); }
  // C [M,6] = A [M,8] Bᵀ, and whether it has the CPU's bits.
  bool multiply(std::int64_t M) {
    const std::vector<float> a = drawn(static_cast<std::size_t>(M) * 8, 1), b = drawn(6 * 8, 2);
    const auto product = [&](Device& d) {
      const Tensor c({M, 6}, Dtype::f32, d);
      kernels::gemm({.c = c, .a = on(d, a, {M, 8}), .b = on(d, b, {6, 8}), .trans_b = true});
      return c;
    };
    return same_bits(product(device), product(cpu()));
  }
  SimDevice device;
};

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  const std::size_t at = text.find(what);
  REQUIRE(at != std::string::npos);
  return text.replace(at, what.size(), by);
}

// A run's directory in which products of 60 and 40 rows were made.
struct Run {
  Run() {
    Gpu gpu;
    KeptChoices choices(gpu.device, dir.path(), 0);
    CHECK(gpu.multiply(60));
    CHECK(gpu.multiply(40));
    choices.save();
  }
  std::string file() const { return dir / "algorithms.json"; }
  ScratchDirectory dir;
};

}  // namespace

TEST_CASE("kept algorithms: a run that goes on asks the library for no shape that it had, and keeps what it adds") {
  const Run run;
  const std::string first = read_file(run.file());
  for (const char* part : {"\"name\": \"simulated GPU\"", "\"cublaslt\": \"130100\"", "\"multiprocessors\": \"132\"",
                           "column-major 6 x 60 x 8 TN", "column-major 6 x 40 x 8 TN"})
    CHECK_MESSAGE(contains(first, part), first);
  const auto inode = [](const std::string& path) {
    struct stat about;
    return ::stat(path.c_str(), &about) == 0 ? about.st_ino : 0;
  };
  const ino_t written = inode(run.file());
  Gpu gpu;
  KeptChoices choices(gpu.device, run.dir.path(), 0);
  asked = 0;
  CHECK(gpu.multiply(60));
  choices.save();
  CHECK(read_file(run.file()) == first);  // with those that it has not come to yet
  CHECK(inode(run.file()) == written);    // nothing new, nothing written
  CHECK(gpu.multiply(40));
  CHECK(asked == 0);
  CHECK(gpu.multiply(70));
  CHECK(asked == 1);
  choices.save();
  CHECK(contains(read_file(run.file()), "column-major 6 x 70 x 8 TN"));
  // Every other rank has a file of its own, in a directory that it may be the first to make.
  for (const int rank : {1, 3}) {
    Gpu other;
    const std::string there = run.dir / "machine";
    KeptChoices of_other(other.device, there, rank);
    asked = 0;
    CHECK(other.multiply(60));
    CHECK(asked == 1);
    of_other.save();
    CHECK(std::filesystem::exists(cat(there, "/algorithms.rank-", rank, ".json")));
    CHECK(!std::filesystem::exists(there + "/algorithms.json"));
  }
  // A device that chooses nothing leaves nothing.
  const ScratchDirectory empty;
  KeptChoices(cpu(), empty.path(), 0).save();
  ForeignDevice foreign(Policy::lazy);
  KeptChoices(foreign, empty.path(), 0).save();
  CHECK(std::filesystem::is_empty(empty.path()));
}

TEST_CASE("kept algorithms: those of another GPU or library are told and not used; the driver may be another") {
  const Run run;
  const std::string text = read_file(run.file());
  const auto taken = [&](const std::string& changed) {
    write_durably(run.file(), changed);
    return in_a_child([&] {
             Gpu gpu;
             KeptChoices choices(gpu.device, run.dir.path(), 0);
             asked = 0;
             const bool same = gpu.multiply(60);
             std::fprintf(stderr, "%s asked %d", same ? "same," : "other,", asked);
           })
        .first;
  };
  CHECK(taken(text) == "same, asked 0");
  CHECK(taken(replaced(text, "\"driver\": \"0.0\"", "\"driver\": \"13.1\"")) == "same, asked 0");
  const std::string version = taken(replaced(text, "130100", "130000"));
  CHECK_MESSAGE(contains(version,
                         "algorithms.json: cublaslt was 130000 and is 130100; algorithms are chosen anew, and "
                         "bits may differ from here on"),
                version);
  CHECK_MESSAGE(contains(version, "same, asked 1"), version);
  const std::string gpu = taken(replaced(replaced(text, "\"132\"", "\"108\""), "\"9.0\"", "\"8.0\""));
  CHECK_MESSAGE(contains(gpu, "compute_capability was 8.0 and is 9.0, multiprocessors was 108 and is 132"), gpu);
  CHECK_MESSAGE(contains(gpu, "same, asked 1"), gpu);
}

TEST_CASE("kept algorithms: a damaged file, one for another product, one in TF32: refused by the file's name") {
  const Run run;
  const std::string text = read_file(run.file());
  const auto refused = [&](const std::string& changed) {
    write_durably(run.file(), changed);
    try {
      Gpu gpu;
      KeptChoices choices(gpu.device, run.dir.path(), 0);
      gpu.multiply(60);
    } catch (const Error& e) { return std::string(e.what()); }
    return std::string("taken");
  };
  const std::size_t sixty = text.find("column-major 6 x 60"), digits = text.find("\": \"", sixty) + 4;
  const std::string of_sixty = text.substr(digits, 128);
  const std::size_t forty = text.find("\": \"", text.find("column-major 6 x 40")) + 4;
  std::string changed = text;
  for (const std::string& cut : {text.substr(0, text.size() / 2), std::string(), std::string("[]")})
    CHECK_MESSAGE(contains(refused(cut), "algorithms.json"), refused(cut));
  CHECK(contains(refused(replaced(text, of_sixty, of_sixty.substr(1))), "expected 128 hexadecimal digits"));
  CHECK(contains(refused(replaced(text, of_sixty, of_sixty.substr(1) + "g")), "expected 128 hexadecimal digits"));
  const std::string exchanged = refused(changed.replace(digits, 128, text.substr(forty, 128)));
  CHECK_MESSAGE(contains(exchanged,
                         "algorithms.json: cuBLASLt refuses the algorithm that stands there for column-major "
                         "6 x 60 x 8 TN"),
                exchanged);

  // On tensor cores in TF32: the second word of the stand-in's algorithms.
  using namespace gpu::lt;
  std::string inexact = of_sixty;
  inexact.replace(16, 16, hex16(0x02 | adds_in_f32 | takes_tf32));
  const std::string tensor_cores = refused(replaced(text, of_sixty, inexact));
  CHECK_MESSAGE(contains(tensor_cores, "its algorithm does not compute in f32"), tensor_cores);
  CHECK(refused(text) == "taken");
}

TEST_CASE("kept algorithms: all 64 bytes of an algorithm come back, and what is no such file is refused by name") {
  gpu::Algorithms all;
  for (std::uint64_t i = 0; i < 8; ++i) all["one"].data[i] = 0x8123456789abcde0ULL + i, all["two"].data[i] = i << 60;
  const gpu::About about = {{"compute_capability", "9.0"}, {"multiprocessors", "132"}, {"cublaslt", "130100"}};
  const std::string text = gpu::algorithms_text(about, all);
  const gpu::KeptAlgorithms back = gpu::kept_algorithms(text, "x.json", about);
  CHECK(back.differs == "");
  REQUIRE(back.algorithms.size() == 2);
  for (const auto& [name, algo] : back.algorithms) CHECK(std::ranges::equal(algo.data, all.at(name).data));
  for (const char* damaged :
       {R"({"about": 1, "algorithms": {}})", R"({"about": {"compute_capability": 9, "multiprocessors": "132"}})",
        R"({"about": {"compute_capability": "9.0", "multiprocessors": "132", "cublaslt": "130100"}})",
        R"({"about": {"compute_capability": "9.0", "multiprocessors": "132", "cublaslt": "130100"}, "algorithms": 3})",
        R"({"about": {"compute_capability": "9.0", "multiprocessors": "132", "cublaslt": "130100"},
            "algorithms": {"one": 5}})",
        "{}", "null"})
    CHECK_THROWS_WITH_AS(gpu::kept_algorithms(damaged, "x.json", about), doctest::Contains("x.json"), Error);
}
