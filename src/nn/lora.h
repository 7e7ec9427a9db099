// LoRA (Hu et al. 2021): a matrix stays as it is, and the product of two narrow ones is learnt beside it.
//
//   y = x Wᵀ + b + s (dropout(x) Aᵀ) Bᵀ      A [r,C], B [F,r];  s = alpha / r, or alpha / √r (rslora)
//
// Dropout (PEFT's lora_dropout) is drawn for each adapter by itself, in training steps alone (Tape::draws): by seed,
// the adapter's name, step, micro-batch and element, so it is the same for any threads, ranks, recomputed or resumed.
// A begins uniform within ±1/√C (PEFT: kaiming_uniform with a = √5), and B is zero: the model begins as it was.
// A product that serves several matrices (q|k|v) stays one product; what is beside each is added to its part.
#pragma once
#include "autograd/ops.h"
#include "nn/parameters.h"

namespace ov {

inline bool is_lora(const Parameter& p) { return p.role == Role::lora_a || p.role == Role::lora_b; }

// A parameter as a variable on x's tape.
inline Var on_tape_of(const Var& x, Parameter* p) {
  if (!p) return {};
  return x.tape ? x.tape->parameter(*p) : Var{p->value};
}

// y, which is part `part` of x wᵀ, with what is learnt beside it. offsets: of the experts whose rows x holds.
Var adapted(const Var& y, const Var& x, const Parameter* w, std::size_t part = 0, const Tensor& offsets = {});

}  // namespace ov
