// What fits which GPU: the kernels on simulated GPUs of several compute capabilities, each with its shared memory.
#include <doctest/doctest.h>

#include "kernels/table.h"
#include "tests/devices/sim_device.h"
#include "tests/kernels/cuda_attention.h"
#include "tests/kernels/edge_example.h"

using namespace ov;
using namespace ov::test;
using sim::Capability;

namespace {

struct Gpu : SimDevice {
  explicit Gpu(Capability capability) { simulated().become(capability); }
};

// Over several spans of keys, by tiles and by a block a span; and within one.
const AttentionCase several_spans{"several spans", {{0, 33, 0, 600}, {33, 2, 600, 530}}, 35, 1130, true},
    one_span{"one span", {{0, 70, 0, 70}, {70, 5, 70, 5, 0}}, 75, 75, true};

AttentionResult attend(Device& device, Dtype dtype, const AttentionCase& c, std::int64_t D, bool backward = true) {
  return attend_on(
      device, dtype, c, 2, 1, D, [](const AttentionForward& a) { kernels::attention_forward(a); },
      [&](const AttentionBackward& a) {
        if (backward) kernels::attention_backward(a);
      });
}

// 1016 of 1030 rows.
Tensor nearest_of(Device& d) {
  const Tensor ids({3, 1016}, Dtype::i32, d), scores({3, 1016}, Dtype::f32, d);
  kernels::nearest(
      {.ids = ids, .scores = scores, .a = on(d, drawn(3 * 4, 1), {3, 4}), .b = on(d, drawn(1030 * 4, 2), {1030, 4})});
  return ids;
}

// What a GPU says of work on it, "" when it takes it.
template <class F>
std::string refusal(Capability capability, F&& work) {
  Gpu gpu(capability);
  try {
    work(gpu);
    gpu.synchronize();
  } catch (const sim::KernelFault& e) { return e.what(); }
  return "";
}

}  // namespace

TEST_CASE("every op of the registry, forward and backward, fits the GPUs of 8.0 and those of 8.6 (G-64)") {
  for (const Capability capability : {Capability{8, 0}, {8, 6}}) {
    Gpu gpu(capability);
    for (const OpRow* op : rows())
      for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
        const std::string at = cat(op->name, " ", name_of(dtype), " on ", text(capability));
        const Run expected = run(op->example, dtype, cpu(), -1, 0, ov::test::Values::whole);
        CHECK_MESSAGE(run(op->example, dtype, gpu, -1, 0, ov::test::Values::whole).tensors == expected.tensors, at);
      }
    gpu.synchronize();
  }
}

TEST_CASE(
    "what takes most shared memory fits 8.0 with the bits of 9.0: heads of 128, long lists, many experts (G-64)") {
  Gpu a100({8, 0}), h100({9, 0});
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const AttentionCase& c : {several_spans, one_span}) {
      CAPTURE(c.name);
      check_same(attend(a100, dtype, c, 128), attend(h100, dtype, c, 128));
    }
  CHECK(same_bits(nearest_of(a100), nearest_of(ov::cpu())));
  const auto chosen = [](Device& d) {
    const Tensor logits = on(d, drawn(5 * 512, 3), {5, 512}), p = Tensor::like(logits), w({5, 8}, Dtype::f32, d);
    const Tensor experts({5, 8}, Dtype::i64, d);
    kernels::router_forward(
        {.probabilities = p, .weights = w, .experts = experts, .logits = logits, .normalise = true});
    return w;
  };
  CHECK(same_bits(chosen(a100), chosen(ov::cpu())));
  a100.synchronize(), h100.synchronize();
}

TEST_CASE("a GPU with 99 KB a block: what needs more is told with its line, its bytes and the limit (G-64)") {
  for (const Capability capability : {Capability{8, 6}, {8, 9}}) {
    const std::string limit =
        cat("launch: more than 99 KB of shared memory (compute capability ", text(capability), ")");
    const auto forward = [](Device& d) { attend(d, Dtype::bf16, several_spans, 128, false); };
    const auto backward = [](Device& d) { attend(d, Dtype::bf16, one_span, 128); };
    for (const auto& [fault, bytes, file] :
         {std::tuple{refusal(capability, forward), 135168, "attention_tensor_cores.cu"},
          {refusal(capability, backward), 131072, "attention_tensor_cores.cu"},
          {refusal(capability, nearest_of), 131072, "nearest.cu"}}) {
      const std::string said = fault;
      CAPTURE(said);
      CHECK(contains(said, limit));
      CHECK(contains(said, cat(", ", bytes, " bytes of shared memory")));
      CHECK(contains(said, cat("queued at ", file, ":")));
    }
  }
  CHECK(refusal({8, 6}, [](Device& d) { attend(d, Dtype::bf16, one_span, 128, false); }) == "");
  CHECK(refusal({8, 6}, [](Device& d) { attend(d, Dtype::bf16, several_spans, 64); }) == "");
  CHECK(refusal({8, 6}, [](Device& d) { attend(d, Dtype::f32, several_spans, 128); }) == "");
}
