// Random initial values. Every value is a function of (seed, parameter name, element): it does not depend on order or
// threads.
#pragma once
#include "nn/parameters.h"

namespace ov {

// Defaults are Hugging Face's for this model (initializer_range 0.02; class_embedding N(0,1)/√d; class_pos_emb
// N(0,1)): right for big models. configs/model/tiny.json sets what a small one needs.
struct InitOptions {
  std::string matrix = "normal";  // "normal" with matrix_std, or "uniform_fan_in": uniform ±1/√(inputs)
  double matrix_std = 0.02;
  double projection_out_std = 0.02;  // attention's output and the MLP's down projection; 0: like other matrices
  double embedding_std = 0.02;
  double patch_embedding_std = 0.02;
  double class_vector_std = 0;  // 0: 1/√d
  double class_angles_std = 1;
};

// The values of one parameter, into a tensor of its shape.
void draw(const Parameter& p, const Tensor& to, const InitOptions& options, std::uint64_t seed);
// `which`: the parameters to draw, by name; without it all of them. The others keep what they hold.
void initialize(Parameters& parameters, const InitOptions& options, std::uint64_t seed,
                const std::function<bool(const std::string& name)>& which = nullptr);

}  // namespace ov
