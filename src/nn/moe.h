// A mixture of experts in a gated MLP's place (Qwen3-MoE): every token goes through the k experts that its router likes
// best, and gets the sum of their answers, weighted.
//
//   p = softmax(W u)  in f32, over E experts;  S = the k largest;  w_e = p_e / Σ_S p   (norm_topk_prob; else p_e)
//   y = Σ_{e in S} w_e down_e(silu(gate_e u) * up_e u)                                 in order of e
//
// No capacity: no token is dropped. A token's result has the same bits whatever the others are and wherever they go.
// Of tensor-parallel ranks each has a part of every expert's inner width; all of them route alike. Where ranks share
// the experts, each holds an equal range of them whole (parallel/expert.h).
#pragma once
#include "nn/mlp.h"

namespace ov {

struct MoeShape {
  std::int64_t hidden, experts, experts_per_token, intermediate;
  bool normalise;  // norm_topk_prob
};

struct Moe : Mlp {
  Moe(Parameters& set, const std::string& name, const MoeShape& shape);
  MlpOutput operator()(const Var& u_TC, const Tensor& forced = {}) const override;
  // down_e(silu(gate_e u) * up_e u) of rows sorted by expert [R,C]; offsets [E+1].
  virtual Var through_experts(const Var& u_RC, const Tensor& offsets) const;

  std::string name;
  MoeShape shape;
  Linear gate;           // the router
  Parameter* gate_up_w;  // [E 2F, C]: expert by expert gate, up; of the experts that this rank holds
  Parameter* down_w;     // [E C, F]
};

// What the routers of a forward pass said, one entry a layer that has one.
struct Routers {
  std::vector<Var> probabilities;  // [T,E]
  std::vector<Tensor> offsets;     // [E+1] i64
};

}  // namespace ov
