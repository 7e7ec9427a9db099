#include "nn/init.h"

#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "base/rng.h"

namespace ov {
namespace {

// Values are drawn on the host, the same for every device; four at a time, which come from one block of random bits.
template <class F>
void fill(const Tensor& t, F&& value) {
  const Tensor here = t.device().on_host() ? t : Tensor(t.shape(), t.dtype(), cpu(), Segment::workspace);
  by_dtype(t.dtype(), [&](auto v) {
    using T = decltype(v);
    T* p = here.data<T>();
    const std::int64_t n = t.numel();
    parallel_for((n + 3) / 4, 1024, [&](std::int64_t block) {
      const std::int64_t i = 4 * block;
      const auto b = static_cast<std::uint64_t>(block);
      const T four[4] = {static_cast<T>(value(4 * b)), static_cast<T>(value(4 * b + 1)),
                         static_cast<T>(value(4 * b + 2)), static_cast<T>(value(4 * b + 3))};
      std::copy_n(four, std::min<std::int64_t>(4, n - i), p + i);
    });
  });
  if (!t.device().on_host()) t.copy_from(here);
}

}  // namespace

void draw(const Parameter& p, const Tensor& t, const InitOptions& options, std::uint64_t seed) {
  if (options.matrix != "normal" && options.matrix != "uniform_fan_in")
    input_error("init.matrix: expected normal or uniform_fan_in, got ", options.matrix);
  const Philox random(seed, "init " + p.name);
  const auto normal = [&](double std) {
    fill(t, [&](std::uint64_t i) { return static_cast<float>(std) * random.normal(i); });
  };
  const std::int64_t inputs = t.numel() / std::max<std::int64_t>(1, t.dim(0));
  const auto uniform = [&] {
    const auto bound = static_cast<float>(1 / std::sqrt(static_cast<double>(inputs)));
    fill(t, [&](std::uint64_t i) { return bound * (2 * random.uniform_f32(i) - 1); });
  };
  const auto matrix = [&] { options.matrix == "normal" ? normal(options.matrix_std) : uniform(); };
  switch (p.role) {
    case Role::matrix:
    case Role::head: matrix(); break;
    case Role::projection_out: options.projection_out_std > 0 ? normal(options.projection_out_std) : matrix(); break;
    case Role::embedding: normal(options.embedding_std); break;
    case Role::patch_embedding: normal(options.patch_embedding_std); break;
    case Role::lora_a: uniform(); break;
    case Role::lora_b:
    case Role::bias:
    case Role::norm_bias: t.zero(); break;
    case Role::norm_weight: fill(t, [](std::uint64_t) { return 1.0f; }); break;
    case Role::class_vector:
      normal(options.class_vector_std > 0 ? options.class_vector_std : 1 / std::sqrt(static_cast<double>(t.numel())));
      break;
    case Role::class_angles: normal(options.class_angles_std); break;
  }
}

void initialize(Parameters& parameters, const InitOptions& options, std::uint64_t seed,
                const std::function<bool(const std::string& name)>& which) {
  if (!parameters.device().has_data()) return;
  for (const auto& e : parameters.entries()) {
    if (!parameters.holds(e) || (which && !which(e.parameter.name))) continue;
    if (e.shape == e.whole) {
      draw(e.parameter, e.parameter.value, options, seed);
      continue;
    }
    const Tensor whole(e.whole, parameters.dtype(), cpu(), Segment::workspace);  // an element's value knows its place
    draw(e.parameter, whole, options, seed);
    e.blocks_of(e.parameter.value).copy_from(e.part_of(whole, parameters.tensor().rank()));
  }
}

}  // namespace ov
