// All parameters of a model, in the order they are declared, which is the order of the name table: embedding, layers,
// head.
//
// Values lie in one flat buffer, one after another without gaps; gradients likewise, for what is trained. ZeRO,
// AdamW, the gradient norm and checkpoints work on ranges of them. Parameters that one product serves (q|k|v,
// gate|up) are declared one after another and read through a fused Parameter, which is a view over all of them.
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "autograd/parameter.h"

namespace ov {

// What a parameter is, for the initialiser (nn/init.h).
enum class Role {
  matrix,
  projection_out,
  embedding,
  patch_embedding,
  bias,
  norm_weight,
  norm_bias,
  class_vector,
  class_angles
};

class Parameters {
 public:
  struct Entry {
    Parameter parameter;
    Shape shape;
    Role role;
    std::int64_t offset;  // elements, into the flat value buffer
  };

  Parameter* declare(const std::string& name, const Shape& shape, Role role);
  // A view over neighbours whose shapes differ in the first axis only.
  Parameter* fuse(const std::vector<Parameter*>& parts);
  // A table that the model reads and nobody trains (rotary frequencies): on the parameters' device after allocate().
  const Tensor* constant(const std::vector<float>& values);
  // `name` is another name of p: a tied head.
  void alias(const std::string& name, Parameter* p) { aliases_[name] = p; }

  void allocate(Dtype dtype, Device& device);  // values unspecified
  // Gradients for the parameters that `trainable` says yes to; frozen ones have none.
  void train(const std::function<bool(const std::string& name)>& trainable);

  const std::deque<Entry>& entries() const { return entries_; }
  const std::map<std::string, Parameter*>& aliases() const { return aliases_; }
  Parameter* find(const std::string& name);  // aliases too; null when there is none
  std::int64_t count() const { return total_; }
  const Tensor& values() const { return values_; }        // [count()]
  const Tensor& gradients() const { return gradients_; }  // of what is trained
  Dtype dtype() const { return values_.dtype(); }
  Device& device() const { return values_.device(); }

  // Where a trained parameter's gradient begins in gradients().
  std::int64_t gradient_offset(const Parameter& p) const { return gradient_places_.at(&p).begin; }
  // The slice of `flat` (laid out as gradients()) that belongs to p, a parameter or a fused view of this set.
  Tensor gradient_slice(const Tensor& flat, const Parameter& p) const;

 private:
  struct Fused {
    Parameter parameter;
    std::vector<Parameter*> parts;
  };
  std::deque<Entry> entries_;
  std::deque<Fused> fused_;
  std::deque<Tensor> constants_;
  std::map<std::string, Parameter*> aliases_;
  std::int64_t total_ = 0;
  Tensor values_, gradients_;
  struct Place {
    std::int64_t begin, count;
  };
  std::map<const Parameter*, Place> gradient_places_;
};

}  // namespace ov
