#include "autograd/tape.h"

#include <stdexcept>
#include <utility>

#include "autograd/op_times.h"
#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/rows.h"

namespace ov {

namespace {

// Nodes that went backward, for the lists that they have: an op of a small model takes microseconds, and lists that are
// taken anew for each would be a part of them.
constexpr std::size_t most_spare = 4096;

std::vector<Node>& spare_nodes() {
  thread_local std::vector<Node> spare;
  return spare;
}

Node empty_node() {
  auto& spare = spare_nodes();
  if (spare.empty()) return {};
  Node node = std::move(spare.back());
  spare.pop_back();
  return node;
}

void put_back(Node node) {
  if (spare_nodes().size() == most_spare) return;
  node.inputs.clear(), node.outputs.clear(), node.wanted.clear();
  node.input_shapes.clear(), node.output_shapes.clear();
  node.saved.clear(), node.inside.clear();
  node.backward = nullptr;
  spare_nodes().push_back(std::move(node));
}

}  // namespace

int Tape::add_edge(const Tensor& t, bool wanted, Parameter* parameter, int producer, int part) {
  edges_.push_back({t.shape(), t.dtype(), &t.device(), wanted, parameter, producer, part});
  return static_cast<int>(edges_.size()) - 1;
}

Var Tape::input(const Tensor& value, bool wants_gradient) {
  return {value, this, add_edge(value, wants_gradient, nullptr, -1, 0)};
}

Var Tape::parameter(Parameter& p) {
  const auto [at, fresh] = parameter_edges_.try_emplace(&p, -1);
  if (fresh) at->second = add_edge(p.value, sums_ && p.trainable && p.gradient >= 0, &p, -1, 0);
  return {p.value, this, at->second};
}

std::vector<Parameter*> Tape::parameters() const {
  std::vector<Parameter*> all;
  for (const Edge& e : edges_)
    if (e.parameter) all.push_back(e.parameter);
  return all;
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
  Node node = empty_node();
  node.op = r.op, node.dtype = r.outputs.at(0).dtype(), node.saved = std::move(r.saved);
  node.pairs = r.pairs, node.form = r.form, node.backward = std::move(r.backward);
  node.inputs.reserve(r.inputs.size()), node.wanted.reserve(r.inputs.size());
  node.input_shapes.reserve(r.inputs.size());
  node.outputs.reserve(r.outputs.size()), node.output_shapes.reserve(r.outputs.size());
  result.reserve(r.outputs.size());
  bool any = r.trains;
  for (const Var& v : r.inputs) {
    if (v && v.tape != tape && v.tape) input_error(row(r.op).name, ": inputs are on different tapes");
    const bool wanted = tape->wants(v);
    node.inputs.push_back(v.edge);
    node.wanted.push_back(wanted);
    node.input_shapes.push_back(v ? v.shape() : Shape{0});
    any = any || wanted;
  }
  for (const Var& v : r.inside) node.inside.push_back(v.edge);
  const int index = any ? static_cast<int>(tape->nodes_.size()) : -1;
  for (const Tensor& t : r.outputs) {
    const int edge = tape->add_edge(t, any, nullptr, index, static_cast<int>(node.outputs.size()));
    node.outputs.push_back(edge);
    node.output_shapes.push_back(t.shape());
    result.push_back({t, tape, edge});
  }
  const Cost cost = row(r.op).cost(node);
  tape->products_.forward += cost.multiply_adds(Pass::forward);
  if (tape->times_) {
    const Parameter* parameter = nullptr;
    for (const Var& v : r.inputs)
      if (!parameter && v.edge >= 0) parameter = tape->edges_[static_cast<std::size_t>(v.edge)].parameter;
    tape->times_->lap(r.op, cost, Pass::forward, parameter);
  }
  if (any) tape->nodes_.push_back(std::move(node));
  else put_back(std::move(node));
  return result;
}

// A buffer for the gradient of an activation, to be overwritten.
Tensor Tape::fresh_gradient(int edge) {
  const Edge& e = edges_[static_cast<std::size_t>(edge)];
  const bool first = !gradients_[static_cast<std::size_t>(edge)];
  if (e.producer < 0 || !first) return {e.shape, e.dtype, *e.device};
  const Node& producer = nodes_[static_cast<std::size_t>(e.producer)];
  if (row(producer.op).owner(0) != Owner::slice) return {e.shape, e.dtype, *e.device};
  Tensor& whole = sliced_[e.producer];
  if (!whole) whole = Tensor(producer.input_shapes[0], e.dtype, *e.device);
  return split_part(whole, producer.output_shapes, e.part);
}

// Adds to what the edge holds. A buffer that somebody else can still see (a residual's gradient is one tensor for two
// edges) is not written to. The sum is of the accumulation type: what flows down a residual stream is never rounded
// there, only where an op reads it.
void Tape::add_gradient(int edge, Tensor gradient) {
  Tensor& g = gradients_[static_cast<std::size_t>(edge)];
  if (!g) {
    g = std::move(gradient);
    return;
  }
  const Dtype wide = accum_dtype(g.dtype());
  if (g.dtype() != wide && gradient.dtype() == wide) std::swap(g, gradient);
  if (g.dtype() != wide) g = g.to(wide);
  const bool ours = g.storage().use_count() == 1;
  const Tensor sum = ours ? g : Tensor::like(g);
  kernels::add({.y = sum, .a = g, .b = gradient});
  g = sum;
}

void Tape::run_backward(Node& node) {
  Grads& d = grads_;
  d.out.clear(), d.in.clear();
  d.out.reserve(node.outputs.size()), d.in.reserve(node.inputs.size());
  const OpRow& op = row(node.op);
  bool any = false;
  for (int edge : node.outputs) {
    Tensor g = std::exchange(gradients_[static_cast<std::size_t>(edge)], Tensor());
    // What was summed in the accumulation type is rounded once, where an op reads it.
    const Dtype dtype = edges_[static_cast<std::size_t>(edge)].dtype;
    if (g && g.dtype() != dtype && op.owner(0) != Owner::handed_over) g = g.to(dtype);
    d.out.push_back(std::move(g));
    any = any || d.out.back();
  }
  if (!any) return;

  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    d.in.emplace_back();
    if (!node.wanted[i]) continue;
    const Edge& e = edges_[static_cast<std::size_t>(node.inputs[i])];
    switch (op.owner(i)) {
      case Owner::fresh: d.in[i] = fresh_gradient(node.inputs[i]); break;
      case Owner::added:
        d.in[i] =
            e.parameter ? gradient_of(*e.parameter, sums_) : Tensor::zeros(e.shape, accum_dtype(e.dtype), *e.device);
        break;
      case Owner::slice:
        if (auto whole = sliced_.extract(static_cast<int>(&node - nodes_.data()))) d.in[i] = std::move(whole.mapped());
        else d.in[i] = Tensor(e.shape, e.dtype, *e.device);
        break;
      case Owner::handed_over: break;
    }
  }
  const Cost cost = op.cost(node);
  node.backward(node, d);
  products_.backward += cost.multiply_adds(Pass::backward);
  if (times_) {
    const Parameter* parameter = nullptr;
    for (const int edge : node.inputs)
      if (!parameter && edge >= 0) parameter = edges_[static_cast<std::size_t>(edge)].parameter;
    times_->lap(node.op, cost, Pass::backward, parameter);
  }

  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    if (!node.wanted[i] || !d.in[i]) continue;
    const Edge& e = edges_[static_cast<std::size_t>(node.inputs[i])];
    if (!e.parameter) {
      add_gradient(node.inputs[i], std::move(d.in[i]));
    } else if (op.owner(i) != Owner::added) {
      const Tensor total = gradient_of(*e.parameter, sums_);
      kernels::add({.y = total, .a = total, .b = d.in[i]});
    }
  }
  d.out.clear(), d.in.clear();
}

// f(k) for every stretch that a gradient of the edge's parameter reaches into.
template <class F>
void Tape::for_stretches(const Edge& e, F&& f) const {
  if (!e.parameter || !e.wanted || e.shape.numel() == 0) return;
  const std::int64_t first = e.parameter->gradient, last = first + e.shape.numel() - 1;
  for (std::int64_t k = first / size_; k <= last / size_; ++k) f(static_cast<std::size_t>(k));
}

template <class F>
void Tape::for_stretches(const Node& node, F&& f) const {
  for (const std::vector<int>* edges : {&node.inputs, &node.inside})
    for (const int edge : *edges)
      if (edge >= 0) for_stretches(edges_[static_cast<std::size_t>(edge)], f);
}

void Tape::backward(std::span<const Var> outputs, std::span<const Tensor> seeds) {
  if (outputs.size() != seeds.size())
    input_error("backward: ", outputs.size(), " outputs and ", seeds.size(), " seeds");
  gradients_.resize(edges_.size());
  if (times_) times_->start();
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (!seeds[i]) continue;
    if (outputs[i].tape != this) input_error("backward: output ", i, " is not on this tape");
    if (outputs[i].shape() != seeds[i].shape())
      input_error("backward: seed ", i, " is ", seeds[i].shape().str(), ", its output ", outputs[i].shape().str());
    if (wants(outputs[i])) add_gradient(outputs[i].edge, seeds[i]);
  }
  if (complete_) {
    if (!left_.empty()) throw std::logic_error("a tape that reports what is complete goes backward twice");
    left_.resize(static_cast<std::size_t>((sums_.numel() + size_ - 1) / size_));
    for (const Node& node : nodes_) for_stretches(node, [&](std::size_t k) { ++left_[k]; });
    for (std::size_t k = 0; k < left_.size(); ++k)
      if (left_[k] == 0) complete_(static_cast<std::int64_t>(k));
  }
  while (!nodes_.empty()) {
    run_backward(nodes_.back());
    if (complete_)
      for_stretches(nodes_.back(), [&](std::size_t k) {
        if (--left_[k] == 0) complete_(static_cast<std::int64_t>(k));
      });
    put_back(std::move(nodes_.back()));
    nodes_.pop_back();
  }
}

std::vector<Tensor> Tape::backward_again(const Block& block, const std::vector<Tensor>& inputs,
                                         const std::vector<bool>& wanted, std::span<const Tensor> seeds) {
  Tape inner(sums_);
  inner.draw(draws_);
  inner.measure(times_);
  if (times_) times_->start();
  std::vector<Var> again;
  for (std::size_t i = 0; i < inputs.size(); ++i) again.push_back(inner.input(inputs[i], wanted[i]));
  const std::vector<Var> outputs = block(again);
  if (complete_)
    for (const Edge& e : inner.edges_)
      for_stretches(e, [&](std::size_t k) {
        if (left_[k] == 0) throw std::logic_error("recompute: " + e.parameter->name + " was said to be complete");
      });
  inner.backward(outputs, seeds);
  std::vector<Tensor> gradients;
  for (std::size_t i = 0; i < again.size(); ++i) gradients.push_back(wanted[i] ? inner.gradient(again[i]) : Tensor());
  products_.forward += inner.products_.forward;  // the first pass had no tape to count it
  products_.backward += inner.products_.backward;
  products_.recomputed += inner.products_.forward + inner.products_.recomputed;
  return gradients;
}

Tensor Tape::gradient(const Var& input) const {
  if (input.tape != this || input.edge < 0) input_error("gradient: the variable is not on this tape");
  return static_cast<std::size_t>(input.edge) < gradients_.size() ? gradients_[static_cast<std::size_t>(input.edge)]
                                                                  : Tensor();
}

}  // namespace ov
