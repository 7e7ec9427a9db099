// The second half of a decoder layer, behind one call: a gated MLP, or a mixture of such (nn/moe.h).
#pragma once
#include "nn/layers.h"

namespace ov {

struct MlpOutput {
  Var y;                   // [T,C]
  Var probabilities = {};  // a router's, of every expert [T,E]; null without a router
  Tensor offsets = {};     // [E+1] i64: offsets_{e+1} - offsets_e tokens went to expert e
};

struct Mlp {
  virtual ~Mlp() = default;
  // forced [T,k] i64: the experts of every token, in place of the router's choice.
  virtual MlpOutput operator()(const Var& u_TC, const Tensor& forced = {}) const = 0;
  // What a rank that shares experts does for the others where it has no token [0,C] -> [0,C] (parallel/expert.h);
  // leaf: it has a micro-batch, of no tokens.
  virtual Var serve(const Var& nothing, bool leaf) const { return static_cast<void>(leaf), nothing; }
};

// down(silu(gate u) * up u). Of tensor-parallel ranks each has a part of the inner width, and y is its addend.
struct DenseMlp : Mlp {
  DenseMlp(Parameters& set, const std::string& name, std::int64_t hidden, std::int64_t intermediate)
      : name(name),
        intermediate(intermediate / set.tensor().ranks()),
        gate_up_w(set.fuse({set.declare(name + ".gate_proj.weight", {intermediate, hidden}, Role::matrix, Cut::rows),
                            set.declare(name + ".up_proj.weight", {intermediate, hidden}, Role::matrix, Cut::rows)})),
        down_proj(set, name + ".down_proj", hidden, intermediate, false, Role::projection_out, Cut::columns) {}
  MlpOutput operator()(const Var& u_TC, const Tensor& = {}) const override {
    const auto gate_up = split(linear(u_TC, on_tape_of(u_TC, gate_up_w)), {{intermediate}, {intermediate}});
    const Var gate = named(name + ".gate_proj", adapted(gate_up[0], u_TC, gate_up_w, 0));
    const Var up = named(name + ".up_proj", adapted(gate_up[1], u_TC, gate_up_w, 1));
    return {named(name, named(name + ".down_proj", down_proj(swiglu(gate, up))))};
  }

  std::string name;
  std::int64_t intermediate;
  Parameter* gate_up_w;  // gate|up: two names, one product
  Linear down_proj;
};

}  // namespace ov
