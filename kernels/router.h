// The router of a mixture of experts (Shazeer et al. 2017; as Qwen3-MoE has it), and the loss that balances it.
//
//   p_te = softmax_e(z_te)                        over all E experts
//   S_t  = the k experts of the largest z_te, the first of equal ones, listed ascending: e_t0 < e_t1 < ...
//   w_tj = p[e_tj] / s_t,  s_t = Σ_{S_t} p        normalised; else p[e_tj]
//
// Backward; which experts were chosen has no gradient. dp comes in where p has another use:
//   dp_te += [e = e_tj] (dw_tj - Σ_i dw_ti w_ti) / s_t       normalised; else dw_tj
//   dz_te  = p_te (dp_te - Σ_i dp_ti p_ti)
//
// Load balancing (Fedus et al. 2021). n_e counts how often expert e was chosen; it has no gradient:
//   loss += factor Σ_e n_e Σ_t p_te
//   dp_te = dloss factor n_e
// Transformers' loss is E Σ_e f_e P_e with means over the N rows of all layers: factor = E / N².
//
// logits z dz [T,E]; probabilities p dp [T,E], weights w dw [T,k], loss and dloss [1] are of z's accumulation type;
// experts [T,k] and counts n [E] are i64. dz and the load-balancing dp are overwritten. NaN chooses the first experts.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct RouterForward {
  Tensor probabilities, weights, experts;
  Tensor logits;
  bool normalise;
  Tensor forced = {};  // [T,k] i64: S_t as somebody else chose it; null: the largest
};
struct RouterBackward {
  Tensor dlogits;
  Tensor dprobabilities, dweights;  // either may be null
  Tensor probabilities, experts;
  bool normalise;
};
struct LoadBalanceForward {
  Tensor loss;
  Tensor probabilities, counts;
  double factor;
};
struct LoadBalanceBackward {
  Tensor dprobabilities;
  Tensor dloss, counts;
  double factor;
};

void router_forward(const RouterForward&);
void router_backward(const RouterBackward&);
void load_balance_forward(const LoadBalanceForward&);
void load_balance_backward(const LoadBalanceBackward&);

}  // namespace ov::kernels
