// make gpu-check: what only a GPU can show. Every op against fp64 and the CPU's bits, golden cases, the same bits
// twenty times over, then each kernel's time beside what the machine was measured to reach, a step of the 8B and its
// rate of decoding (gpu_check_step.h). Exit 3 without a GPU.
//
// --ranks: instead, what takes several of them (gpu_ranks_check.h).
// --simulated: on a simulated GPU, at small sizes, which proves that this program works and nothing else.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "audit/diff.h"
#include "kernels/table.h"
#include "model/files/hf_directory.h"
#include "tests/devices/sim_device.h"
#include "tests/kernels/edge_example.h"
#include "tests/kernels/ptx_probe.h"
#include "tests/rl/policy_world.h"
#include "tests/tools/gpu_check_kernels.h"
#include "tests/tools/gpu_check_step.h"
#include "tests/tools/gpu_ranks_check.h"
#include "tests/train/training_run.h"
#include "train/checksums.h"

using namespace ov;
using namespace ov::test;

namespace {

bool simulated = false;

gpu::CudaDevice& the_gpu() { return dynamic_cast<gpu::CudaDevice&>(gpu::device_named("cuda")); }

void report(const std::vector<Line>& lines, const std::string& path) {
  gpu::Runtime& r = the_gpu().runtime();
  const gpu::Runtime::Versions v = r.versions();
  Json all = Json::object({{"gpu", r.device_name(0)}, {"driver", v.driver}, {"runtime", v.runtime}});
  double most_flops = 0, most_bytes = 0;  // a ms
  for (const Line& l : lines)
    (l.flops ? most_flops : most_bytes) = std::max(l.flops ? most_flops : most_bytes, l.amount / l.ms);
  std::printf("%s, driver %d, runtime %d; random numbers, the least of seven times\n", r.device_name(0).c_str(),
              v.driver, v.runtime);
  std::printf("%-44s %10s %14s %18s\n", "kernel", "ms", "TFLOP/s, GB/s", "% of the best here");
  for (const Line& l : lines) {
    const double rate = l.amount / l.ms, share = 100 * rate / (l.flops ? most_flops : most_bytes);
    std::printf("%-44s %10.4f %14.1f %18.1f\n", l.name.c_str(), l.ms, rate / (l.flops ? 1e9 : 1e6), share);
    all.set(l.name, Json::object({{"ms", l.ms},
                                  {l.flops ? "tflops" : "gbytes_per_second", rate / (l.flops ? 1e9 : 1e6)},
                                  {"percent", share}}));
  }
  all.set("whole model", time_whole_model({.flops = most_flops * 1e3, .bytes = most_bytes * 1e3}, simulated));
  write_durably(path, all.dump(2) + "\n");
}

// ---- a short training

std::string trained(Dtype dtype) {
  ModelConfig config = small_config();
  config.text.experts = 3, config.text.experts_per_token = 2, config.text.expert_intermediate = 24;
  config.text.mlp_only_layers = {0};
  Onevision model(config);
  model.parameters().allocate(dtype, the_gpu());
  initialize(model.parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.2, .embedding_std = 0.5}, 1);
  FixedSteps data({as_step({mixed_row(1), mixed_row(2)})});
  Training training(model, data, short_run(2));
  std::string said;
  for (int i = 0; i < 2; ++i) said += cat(std::hexfloat, training.step().loss, " ");
  return said + std::to_string(tensor_checksum(model.parameters().values()));
}

// On the simulated GPU the twins, which proves the call alone.
void run_probe(const Tensor& out, const Tensor& in) {
#ifdef OV_WITH_CUDA
  if (!simulated) return probe::cuda::run(out, in, the_gpu().enter());
#endif
  probe::simulated::run(out, in, the_gpu().enter());
}

}  // namespace

TEST_CASE("every op agrees with f64 within its bound, at its edges, in f32 and bf16") {
  std::int64_t same = 0, all = 0;
  for (const OpRow* op : rows()) {
    const int sizes = run(op->example, Dtype::f64, cpu(), -1, 0).sizes;
    for (int which = std::min(0, sizes - 1); which < sizes; ++which)
      for (const std::int64_t edge : {1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 257, 2053}) {
        if ((which < 0 && edge > 1) || (simulated && edge > 5)) break;
        const Run exact = run(op->example, Dtype::f64, cpu(), which, edge);
        for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
          const Run got = run(op->example, dtype, the_gpu(), which, edge);
          const std::string at = cat(op->name, " ", name_of(dtype), ", size number ", which, " at ", edge);
          const double share = worst(got, exact, dtype == Dtype::bf16 ? stores(op->op) : 0);
          CHECK_MESSAGE(share <= 1, at, ": ", share, " of the bound");
          same += got.tensors == run(op->example, dtype, cpu(), which, edge).tensors, ++all;
        }
      }
  }
  std::printf("ops: %ld of %ld cases have the CPU's bits\n", long(same), long(all));
}

TEST_CASE("every instruction of ov::ptx does what its twin does") {
  std::vector<float> in(probe::inputs);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i * 7 % 13) - 6;
  const Tensor here({probe::outputs}, Dtype::f32, cpu()), there({probe::outputs}, Dtype::f32, the_gpu());
  probe::simulated::run(here, Tensor::of(in, {probe::inputs}), nullptr);
  run_probe(there, Tensor::of(in, {probe::inputs}, the_gpu()));
  const std::vector<float> twin = here.to_vector<float>(), got = there.to_vector<float>();
  for (std::size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    if (i < probe::exact) CHECK(got[i] == twin[i]);
    else CHECK(std::abs(got[i] - twin[i]) <= 2 * 0x1p-23f * twin[i]);  // ex2.approx: 2 units of the last place
  }
}

TEST_CASE("golden cases in f32: no class is more than twice as far from fp64 as PyTorch's f32 at its worst") {
  for (const std::string folder : {"tests/golden/dense", "tests/golden/moe"})
    for (const std::string& file : list_directory(folder)) {
      if (!file.starts_with("case") || !file.ends_with(".safetensors")) continue;
      CAPTURE(file);
      const Json summary = Json::read(folder + "/summary.json");
      const Json* of_case = &summary;
      if (const Json* cases = summary.find("cases"))
        for (const Json& c : cases->items())
          if (file == "case_" + c.at("name").as_string() + ".safetensors") of_case = &c;
      const auto model = load_model(folder + "/checkpoint", {.device = &the_gpu()});
      Trace ours = trace_model(*model, read_trace_case(folder + "/" + file, Dtype::f32));
      for (NamedTensor& t : ours.tensors) t.tensor = t.tensor.to(cpu());
      const Safetensors stored = Safetensors::open(folder + "/" + file);
      std::vector<NamedTensor> reference;
      for (const auto& e : stored.entries())
        if (e.name.starts_with("act.") || e.name.starts_with("grad.") || e.name == "logits")
          reference.push_back({e.name, stored.tensor(e.name)});
      const TraceDifference d = compare_tensors(ours.tensors, reference, {}, 1e-7);
      int bounds = 0;
      for (const auto& [prefix, figure] : {std::pair{"act.", "worst_activation"},
                                           {"grad.", "worst_gradient"},
                                           {"logits", "logits_max_abs_over_max"},
                                           {"logits", "logits"}})
        if (const Json* theirs = of_case->at("fp32_error_of_pytorch").find(figure)) {
          const double bound = 2 * (theirs->is_array() ? (*theirs)[0] : *theirs).as_double(), found = d.worst(prefix);
          CHECK_MESSAGE(found <= bound, prefix, ": ", found, ", bound ", bound);
          ++bounds;
        }
      CHECK(bounds >= 2);
    }
}

TEST_CASE("twenty times over, training has the same bits") {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    const std::string first = trained(dtype);
    for (int i = 1; i < (simulated ? 2 : 20); ++i) CHECK(trained(dtype) == first);
  }
}

TEST_CASE("rl, G7: a step in bf16 has the loss and the gradient of the CPU's in f32") {
  const Lessons lessons;
  const auto [loss, cosine] = bf16_step_beside_f32(lessons, the_gpu());
  CHECK(std::abs(loss) < 1e-2);
  CHECK(cosine > 0.99);
}

int main(int argc, char** argv) {
  std::string out = "gpu-check.json";
  bool ranks = false;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--simulated") simulated = true;
    else if (std::string(argv[i]) == "--ranks") ranks = true;
    else out = argv[i];
  }
  try {
    if (ranks) return check_gpu_ranks(simulated);
    if (simulated) gpu::bring_gpu(new SimDevice);
    the_gpu();
    doctest::Context context;
    context.setOption("no-intro", true);
    const int failed = context.run();
    report(time_kernels(simulated), out);
    std::printf("%s\n", failed ? "gpu-check: FAILED" : "gpu-check: ops and bits are right");
    return failed;
  } catch (const Error& e) {
    std::fprintf(stderr, "gpu-check: %s\n", e.what());
    return static_cast<int>(e.exit());
  }
}
