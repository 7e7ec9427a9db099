// A trainable array of the model: a view into the flat buffer that holds all parameters in the order of the name table.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace ov {

// The part of the model that a parameter belongs to: freeze sets, learning rates and plan's table read it.
enum class Module { vision_model, adapter, language_model, experts, region_head };

// What a parameter is, for the initialiser (nn/init.h), weight decay and freeze sets.
enum class Role {
  matrix,
  projection_out,
  embedding,
  head,
  patch_embedding,
  bias,
  norm_weight,
  norm_bias,
  class_vector,
  class_angles,
  lora_a,
  lora_b
};

struct LowRank;

struct Parameter {
  std::string name;  // Hugging Face's in-memory name: "model.visual.blocks.0.norm1.weight"
  Tensor value;      // what the kernels read
  Module module = Module::language_model;
  Role role = Role::matrix;
  bool trainable = true;
  std::int64_t gradient = -1;  // where its gradient begins in a gradient buffer (elements); -1: it has none
  std::vector<const LowRank*> beside = {};  // nn/lora.h: by part of a fused product, null where there is none
};

// What is learnt beside a matrix that stays as it is: scale b a, with a [r,C] and b [F,r]. While it is learnt, a share
// of what a reads is dropped.
struct LowRank {
  Parameter *a, *b;
  double scale, dropout = 0;
  std::uint64_t seed = 0;
};

// The slice of a flat buffer of all gradients (or moments, or master weights) that belongs to p; null when it has none.
inline Tensor gradient_of(const Parameter& p, const Tensor& flat) {
  if (!flat || !p.trainable || p.gradient < 0) return {};
  return flat.slice(0, p.gradient, p.gradient + p.value.numel()).view(p.value.shape());
}

}  // namespace ov
