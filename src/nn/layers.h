// The layers that models are built of: parameters, and the op that reads them. Names are Hugging Face's.
#pragma once
#include "nn/lora.h"

namespace ov {

// Cut by rows it gives a rank its part of the outputs; cut by columns its addend of all of them, and the bias is the
// first rank's to add.
struct Linear {
  Parameter *w = nullptr, *b = nullptr;  // [F,C], [F]
  bool adds_bias = true;
  Linear() = default;
  Linear(Parameters& set, const std::string& name, std::int64_t outputs, std::int64_t inputs, bool bias,
         Role role = Role::matrix, Cut cut = Cut::none)
      : w(set.declare(name + ".weight", {outputs, inputs}, role, cut)),
        b(bias ? set.declare(name + ".bias", {outputs}, Role::bias, cut == Cut::columns ? Cut::none : cut) : nullptr),
        adds_bias(cut != Cut::columns || set.tensor().rank() == 0) {}
  Var operator()(const Var& x) const {
    return adapted(linear(x, on_tape_of(x, w), on_tape_of(x, adds_bias ? b : nullptr)), x, w);
  }
};

struct LayerNorm {
  Parameter *w = nullptr, *b = nullptr;
  double eps = 1e-5;
  LayerNorm() = default;
  LayerNorm(Parameters& set, const std::string& name, std::int64_t width, double eps)
      : w(set.declare(name + ".weight", {width}, Role::norm_weight)),
        b(set.declare(name + ".bias", {width}, Role::norm_bias)),
        eps(eps) {}
  Var operator()(const Var& x) const { return layer_norm(x, on_tape_of(x, w), on_tape_of(x, b), eps); }
};

struct RmsNorm {
  Parameter* w = nullptr;
  double eps = 1e-6;
  RmsNorm() = default;
  RmsNorm(Parameters& set, const std::string& name, std::int64_t width, double eps)
      : w(set.declare(name + ".weight", {width}, Role::norm_weight)), eps(eps) {}
  Var operator()(const Var& x) const { return rms_norm(x, on_tape_of(x, w), eps); }
};

inline bool traced(const Var& x) { return x.tape && x.tape->tracer(); }
// A trace gets ops one by one.
inline bool fuses(const Var& x) { return !traced(x) && x.value.device().fuses(); }

// The residual stream: h and what the layer before adds to it, if any.
struct Residual {
  Var h, addend = {};
  std::string name = {};  // of the sum
  Var sum() const {
    if (!addend) return h;
    const Var sum = h + addend;
    return name.empty() ? sum : named(name, sum);
  }
  // h + addend and its norm, in one pass over memory.
  AddRmsNorm normed(const RmsNorm& norm) const {
    if (addend && fuses(h)) return add_rms_norm(h, addend, on_tape_of(h, norm.w), norm.eps);
    const Var all = sum();
    return {all, norm(all)};
  }
};

}  // namespace ov
