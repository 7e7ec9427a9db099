#include "autograd/tape.h"

#include <utility>

#include "autograd/op_times.h"
#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/rows.h"

namespace ov {

int Tape::add_edge(const Tensor& t, bool wanted, Parameter* parameter, int producer, int part) {
  edges_.push_back({t.shape(), t.dtype(), &t.device(), wanted, parameter, producer, part});
  return static_cast<int>(edges_.size()) - 1;
}

Var Tape::input(const Tensor& value, bool wants_gradient) {
  return {value, this, add_edge(value, wants_gradient, nullptr, -1, 0)};
}

Var Tape::parameter(Parameter& p) {
  const auto [at, fresh] = parameter_edges_.try_emplace(&p, -1);
  if (fresh) at->second = add_edge(p.value, p.trainable && gradient_buffer(p), &p, -1, 0);
  return {p.value, this, at->second};
}

Tape* tape_of(std::initializer_list<const Var*> vars) {
  for (const Var* v : vars)
    if (v->tape) return v->tape;
  return nullptr;
}

std::vector<Var> record_all(Recording r) {
  Tape* tape = nullptr;
  for (const Var& v : r.inputs)
    if (v.tape) tape = v.tape;
  std::vector<Var> result;
  if (!tape) {
    for (const Tensor& t : r.outputs) result.push_back({t, nullptr, -1});
    return result;
  }
  tape->forward_products_ += r.products;
  if (tape->times_) tape->times_->lap(r.op);

  Node node{.op = r.op,
            .inputs = {},
            .outputs = {},
            .wanted = {},
            .input_shapes = {},
            .output_shapes = {},
            .saved = {},
            .products = r.products,
            .backward = nullptr};
  bool any = r.trains;
  for (const Var& v : r.inputs) {
    if (v && v.tape != tape && v.tape) input_error(row(r.op).name, ": inputs are on different tapes");
    const bool wanted = tape->wants(v);
    node.inputs.push_back(v.edge);
    node.wanted.push_back(wanted);
    node.input_shapes.push_back(v ? v.shape() : Shape{0});
    any = any || wanted;
  }
  const int index = any ? static_cast<int>(tape->nodes_.size()) : -1;
  for (const Tensor& t : r.outputs) {
    const int edge = tape->add_edge(t, any, nullptr, index, static_cast<int>(node.outputs.size()));
    node.outputs.push_back(edge);
    node.output_shapes.push_back(t.shape());
    result.push_back({t, tape, edge});
  }
  if (any) {
    node.saved = std::move(r.saved);
    node.backward = std::move(r.backward);
    tape->nodes_.push_back(std::move(node));
  }
  return result;
}

// A buffer for the gradient of an activation. For a part of a split it is a slice of the gradient of what was split.
Tensor Tape::fresh_gradient(int edge, bool zeroed) {
  const Edge& e = edges_[static_cast<std::size_t>(edge)];
  const bool first = !gradients_[static_cast<std::size_t>(edge)];
  if (e.producer >= 0 && first && !zeroed && nodes_[static_cast<std::size_t>(e.producer)].op == Op::split) {
    const Node& split = nodes_[static_cast<std::size_t>(e.producer)];
    Tensor& whole = whole_[e.producer];
    if (!whole) whole = Tensor(split.input_shapes[0], e.dtype, *e.device);
    return split_part(whole, split.output_shapes, e.part);
  }
  const Tensor buffer(e.shape, e.dtype, *e.device);
  if (zeroed) buffer.zero();
  return buffer;
}

// Adds to what the edge holds. A buffer that somebody else can still see (a residual's gradient is one tensor for two
// edges) is not written to.
void Tape::add_gradient(int edge, Tensor gradient) {
  Tensor& g = gradients_[static_cast<std::size_t>(edge)];
  if (!g) {
    g = std::move(gradient);
    return;
  }
  const bool ours = g.storage().use_count() == 1;
  const Tensor sum = ours ? g : Tensor::like(g);
  kernels::add({.y = sum, .a = g, .b = gradient});
  g = sum;
}

void Tape::run_backward(Node& node) {
  Grads d;
  bool any = false;
  for (int edge : node.outputs) {
    d.out.push_back(std::exchange(gradients_[static_cast<std::size_t>(edge)], Tensor()));
    any = any || d.out.back();
  }
  if (!any) return;

  const OpRow& op = row(node.op);
  // Backward's products, in units of forward's: one for dx and one for dw (a bias has none); for attention four
  // against two.
  int wanted = 0;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    Tensor buffer;
    if (node.wanted[i]) {
      wanted += i < 2;
      const Edge& e = edges_[static_cast<std::size_t>(node.inputs[i])];
      const bool adds = op.adds >> i & 1;
      if (!op.passes)
        buffer = adds && e.parameter ? gradient_buffer(*e.parameter) : fresh_gradient(node.inputs[i], adds);
    }
    d.in.push_back(std::move(buffer));
  }
  backward_products_ += node.products * wanted;
  if (node.op == Op::split) {
    if (const auto whole = whole_.extract(static_cast<int>(&node - nodes_.data()))) d.in[0] = whole.mapped();
  }
  node.backward(node, d);

  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    if (!node.wanted[i] || !d.in[i]) continue;
    const Edge& e = edges_[static_cast<std::size_t>(node.inputs[i])];
    if (!e.parameter) {
      add_gradient(node.inputs[i], std::move(d.in[i]));
    } else if (const bool adds = op.adds >> i & 1; !adds || op.passes) {
      const Tensor total = gradient_buffer(*e.parameter);
      kernels::add({.y = total, .a = total, .b = d.in[i]});
    }
  }
}

void Tape::backward(std::span<const Var> outputs, std::span<const Tensor> seeds) {
  if (outputs.size() != seeds.size())
    input_error("backward: ", outputs.size(), " outputs and ", seeds.size(), " seeds");
  gradients_.resize(edges_.size());
  if (times_) times_->start();
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].tape != this) input_error("backward: output ", i, " is not on this tape");
    if (outputs[i].shape() != seeds[i].shape())
      input_error("backward: seed ", i, " is ", seeds[i].shape().str(), ", its output ", outputs[i].shape().str());
    if (wants(outputs[i])) add_gradient(outputs[i].edge, seeds[i]);
  }
  while (!nodes_.empty()) {
    const Op op = nodes_.back().op;
    run_backward(nodes_.back());
    nodes_.pop_back();
    if (times_) times_->lap(op);
  }
}

// A block run again: its products are the step's, done once more.
void Tape::count_recomputed(const Tape& inner) {
  forward_products_ += inner.forward_products_;
  backward_products_ += inner.backward_products_;
  recomputed_products_ += inner.forward_products_ + inner.recomputed_products_;
}

Tensor Tape::gradient(const Var& input) const {
  if (input.tape != this || input.edge < 0) input_error("gradient: the variable is not on this tape");
  return static_cast<std::size_t>(input.edge) < gradients_.size() ? gradients_[static_cast<std::size_t>(input.edge)]
                                                                  : Tensor();
}

}  // namespace ov
