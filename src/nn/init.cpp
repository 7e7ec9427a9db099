#include "nn/init.h"

#include <cmath>

#include "base/parallel.h"
#include "base/rng.h"

namespace ov {
namespace {

// Values are drawn on the host, the same for every device.
template <class F>
void fill(const Tensor& t, F&& value) {
  const Tensor here = t.device().on_host() ? t : Tensor(t.shape(), t.dtype(), cpu(), Segment::workspace);
  by_dtype(t.dtype(), [&](auto v) {
    using T = decltype(v);
    T* p = here.data<T>();
    parallel_for(t.numel(), 4096, [&](std::int64_t i) { p[i] = static_cast<T>(value(static_cast<std::uint64_t>(i))); });
  });
  if (!t.device().on_host()) t.copy_from(here);
}

}  // namespace

void initialize(Parameters& parameters, const InitOptions& options, std::uint64_t seed,
                const std::function<bool(const std::string& name)>& which) {
  if (!parameters.device().has_data()) return;
  if (options.matrix != "normal" && options.matrix != "uniform_fan_in")
    input_error("init.matrix: expected normal or uniform_fan_in, got ", options.matrix);
  for (const auto& e : parameters.entries()) {
    if (which && !which(e.parameter.name)) continue;
    const Tensor& t = e.parameter.value;
    const Philox random(seed, "init " + e.parameter.name);
    const auto normal = [&](double std) {
      fill(t, [&](std::uint64_t i) { return static_cast<float>(std) * random.normal(i); });
    };
    const std::int64_t inputs = t.numel() / std::max<std::int64_t>(1, t.dim(0));
    const auto uniform = [&] {
      const auto bound = static_cast<float>(1 / std::sqrt(static_cast<double>(inputs)));
      fill(t, [&](std::uint64_t i) { return bound * (2 * random.uniform_f32(i) - 1); });
    };
    const auto matrix = [&] { options.matrix == "normal" ? normal(options.matrix_std) : uniform(); };
    switch (e.parameter.role) {
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
}

}  // namespace ov
