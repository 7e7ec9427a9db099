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
#include "kernels/copy.h"
#include "kernels/cross_entropy.h"
#include "kernels/rmsnorm.h"
#include "kernels/segments.h"
#include "kernels/swiglu.h"
#include "kernels/table.h"
#include "model/files/hf_directory.h"
#include "tests/devices/sim_device.h"
#include "tests/kernels/edge_example.h"
#include "tests/rl/policy_world.h"
#include "tests/tools/gpu_check_step.h"
#include "tests/tools/gpu_ranks_check.h"
#include "tests/train/training_run.h"
#include "train/checksums.h"

using namespace ov;
using namespace ov::test;

namespace {

bool simulated = false;

gpu::CudaDevice& the_gpu() { return dynamic_cast<gpu::CudaDevice&>(gpu::device_named("cuda")); }

// ---- the table

struct Line {
  std::string name;
  double ms, amount;  // FLOPs, or bytes
  bool flops;
};

// The least of several times, after one that loads what is loaded late.
template <class F>
double milliseconds(F&& work) {
  gpu::CudaDevice& d = the_gpu();
  gpu::Runtime& r = d.runtime();
  const gpu::Event from = r.event_create(true), to = r.event_create(true);
  double best = INFINITY;
  for (int i = 0; i < (simulated ? 2 : 8); ++i) {
    const gpu::Stream s = d.enter();
    r.event_record(from, s);
    work();
    r.event_record(to, s);
    d.synchronize();
    if (i > 0) best = std::min(best, static_cast<double>(r.event_elapsed(from, to)));
  }
  r.event_destroy(from), r.event_destroy(to);
  return best;
}

// Numbers in (-1, 1): a GPU multiplies zeros faster than it does numbers.
Tensor numbers(const Shape& shape, Dtype dtype) {
  std::vector<float> v(static_cast<std::size_t>(shape.numel()));
  const Philox random(1, "gpu check");
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(random.below(i, 2001)) / 1000.f - 1;
  return Tensor::of(v, shape, the_gpu()).to(dtype);
}
Tensor blank(const Shape& shape, Dtype dtype = Dtype::bf16) { return Tensor(shape, dtype, the_gpu()); }

std::vector<Line> time_kernels() {
  using namespace kernels;
  std::vector<Line> lines;
  const std::int64_t T = simulated ? 64 : 8192, C = simulated ? 64 : 4096, F = simulated ? 96 : 12288,
                     V = simulated ? 300 : 151936, H = simulated ? 2 : 32, K = simulated ? 1 : 8,
                     D = simulated ? 32 : 128;
  const auto memory = [&](const std::string& name, double bytes, auto&& work) {
    lines.push_back({name, milliseconds(work), bytes, false});
  };
  const auto product = [&](const std::string& name, double flops, auto&& work) {
    lines.push_back({name, milliseconds(work), flops, true});
  };
  const auto bytes = [](auto... n) { return 2.0 * static_cast<double>((n + ...)); };  // bf16

  {  // what the machine reaches: the peaks that the others are compared with
    const std::int64_t n = simulated ? 64 : 8192;
    const Tensor a = numbers({n, n}, Dtype::bf16), b = numbers({n, n}, Dtype::bf16), c = blank({n, n});
    product("product " + std::to_string(n) + " cubed", 2.0 * double(n) * double(n) * double(n),
            [&] { gemm({.c = c, .a = a, .b = b, .trans_b = true}); });
    memory("copy", bytes(2 * n * n), [&] { copy({.y = c, .x = a}); });
  }
  {
    const Tensor x = numbers({T, C}, Dtype::bf16), w = numbers({C}, Dtype::bf16), y = blank({T, C}), dx = blank({T, C}),
                 rstd = blank({T}, Dtype::f32), dw = Tensor::zeros({C}, Dtype::f32, the_gpu());
    memory("rmsnorm forward", bytes(2 * T * C),
           [&] { rmsnorm_forward({.y = y, .rstd = rstd, .x = x, .w = w, .eps = 1e-6}); });
    memory("rmsnorm backward", bytes(3 * T * C),
           [&] { rmsnorm_backward({.dx = dx, .dw = dw, .dy = y, .x = x, .w = w, .rstd = rstd}); });
    const Tensor up = numbers({2 * F, C}, Dtype::bf16), gate_up = blank({T, 2 * F});
    product("gate and up", 4.0 * double(T) * double(C) * double(F),
            [&] { gemm({.c = gate_up, .a = x, .b = up, .trans_b = true}); });
    const Tensor h = blank({T, F}), dgate = blank({T, F}), dup = blank({T, F});
    const Tensor gate = gate_up.slice(1, 0, F), other = gate_up.slice(1, F, 2 * F);
    memory("swiglu forward", bytes(3 * T * F), [&] { swiglu_forward({.y = h, .gate = gate, .up = other}); });
    memory("swiglu backward", bytes(5 * T * F),
           [&] { swiglu_backward({.dgate = dgate, .dup = dup, .dy = h, .gate = gate, .up = other}); });
  }
  {
    const std::int64_t N = T / 8;
    const Tensor z = numbers({N, V}, Dtype::bf16), dz = blank({N, V}), loss = blank({1}, Dtype::f32),
                 token = blank({N}, Dtype::f32), lse = blank({N, 2}, Dtype::f32),
                 weights = Tensor::of(std::vector<float>(std::size_t(N), 1), {N}, the_gpu()),
                 targets = Tensor::of(std::vector<std::int64_t>(std::size_t(N), 7), {N}, the_gpu()),
                 one = Tensor::of<float>({1}, {1}, the_gpu());
    memory("cross entropy forward", bytes(2 * N * V), [&] {
      cross_entropy_forward({.loss = loss,
                             .token_loss = token,
                             .lse = lse,
                             .logits = z,
                             .targets = targets,
                             .weights = weights,
                             .denominator = double(N)});
    });
    memory("cross entropy backward", bytes(2 * N * V), [&] {
      cross_entropy_backward({.dlogits = dz,
                              .dloss = one,
                              .logits = z,
                              .targets = targets,
                              .weights = weights,
                              .lse = lse,
                              .denominator = double(N)});
    });
  }
  for (const bool packed : {true, false}) {  // segments of 756 tokens, or one of four times the length
    const std::int64_t n = packed ? T : 4 * T, piece = packed ? std::min<std::int64_t>(T, 756) : n;
    SegmentTable table;
    for (std::int64_t at = 0; at < n; at += piece)
      table.push_back({at, std::min(piece, n - at), at, std::min(piece, n - at)});
    const Segments segments(table, n, n, true, the_gpu());
    const Tensor q = numbers({n, H, D}, Dtype::bf16), k = numbers({n, K, D}, Dtype::bf16),
                 v = numbers({n, K, D}, Dtype::bf16), o = blank({n, H, D}), lse = blank({n, H}, Dtype::f32),
                 dq = blank({n, H, D}), dk = blank({n, K, D}), dv = blank({n, K, D});
    const double flops = 4.0 * double(segments.pairs) * double(H * D), scale = 1 / std::sqrt(double(D));
    const std::string what = cat("attention, ", n, packed ? " tokens in segments, " : " tokens in one, ");
    product(what + "forward", flops, [&] {
      attention_forward(
          {.o = o, .lse = lse, .q = q, .k = k, .v = v, .segments = segments.rows, .causal = true, .scale = scale});
    });
    product(what + "backward", 2.5 * flops, [&] {
      attention_backward({.dq = dq,
                          .dk = dk,
                          .dv = dv,
                          .d_o = o,
                          .q = q,
                          .k = k,
                          .v = v,
                          .o = o,
                          .lse = lse,
                          .segments = segments.rows,
                          .causal = true,
                          .scale = scale});
    });
  }
  for (const std::int64_t requests : {1, 16}) {  // a token each, over a cache of T
    SegmentTable table;
    for (std::int64_t r = 0; r < requests; ++r) table.push_back({r, 1, r * T, T});
    const Tensor rows = Segments(table, requests, requests * T, true, the_gpu()).rows;
    const Tensor q = numbers({requests, H, D}, Dtype::bf16), k = numbers({requests * T, K, D}, Dtype::bf16),
                 v = numbers({requests * T, K, D}, Dtype::bf16), o = blank({requests, H, D}),
                 lse = blank({requests, H}, Dtype::f32);
    memory(cat("attention of ", requests, requests == 1 ? " token" : " tokens", " over caches"),
           bytes(2 * requests * T * K * D), [&] {
             attention_forward({.o = o,
                                .lse = lse,
                                .q = q,
                                .k = k,
                                .v = v,
                                .segments = rows,
                                .causal = true,
                                .scale = 1 / std::sqrt(double(D))});
           });
  }
  return lines;
}

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
    all.set(l.name,
            Json::object({{"ms", l.ms}, {l.flops ? "tflops" : "gbytes_per_second", rate / (l.flops ? 1e9 : 1e6)}}));
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
    report(time_kernels(), out);
    std::printf("%s\n", failed ? "gpu-check: FAILED" : "gpu-check: ops and bits are right");
    return failed;
  } catch (const Error& e) {
    std::fprintf(stderr, "gpu-check: %s\n", e.what());
    return static_cast<int>(e.exit());
  }
}
