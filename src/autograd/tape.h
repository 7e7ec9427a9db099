// Reverse-mode differentiation on an explicit tape.
//
// A Tape is an object, a Var knows its tape, nothing is global: several may be alive. Recording an op stores a Node:
// its input and output edges (shape and type, no storage), the tensors its backward reads, and the backward itself,
// which captures numbers only. Without a tape nothing is stored, so generation runs the same model code.
//
//   Tape tape;
//   Var x = tape.input(tensor);                    // gradients of inputs can be asked for afterwards
//   Var y = linear(x, tape.parameter(w));          // gradients of parameters are added to w.main_grad
//   tape.backward({y}, {dy});
//   Tensor dx = tape.gradient(x);
//
// Accumulation, once and for all: a kernel overwrites the gradient of an activation and adds to that of a parameter;
// where an activation is used several times the tape adds, later uses first.
#pragma once
#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "autograd/parameter.h"
#include "tensor/tensor.h"

namespace ov {

class OpTimes;
class Tape;
class Tracer;
enum class Op : int;

// A value and its place on a tape. Without a tape it is only a value; a null Var is an optional argument left out.
struct Var {
  Tensor value;
  Tape* tape = nullptr;
  int edge = -1;

  explicit operator bool() const { return static_cast<bool>(value); }
  const Shape& shape() const { return value.shape(); }
  std::int64_t dim(int axis) const { return value.dim(axis); }
};

struct Node;

// What a backward sees: gradients of the outputs (null if nothing flowed back) and buffers for those of the inputs
// (null if nobody wants them). Inputs listed in the op's row as `adds` already hold something and are added to; the
// others are overwritten.
struct Grads {
  std::vector<Tensor> out;
  std::vector<Tensor> in;
};

using Backward = std::function<void(const Node&, Grads&)>;

struct Node {
  Op op;
  std::vector<int> inputs;  // edges; -1 for an argument left out
  std::vector<int> outputs;
  std::vector<bool> wanted;  // one an input: does anybody want its gradient
  std::vector<Shape> input_shapes, output_shapes;
  std::vector<Tensor> saved;
  std::int64_t products = 0;  // multiply-adds of the forward pass's matrix products and attention
  Backward backward;
};

// Designated initialisers of record().
struct Recording {
  Op op;
  std::vector<Var> inputs = {};
  std::vector<Tensor> outputs = {};
  std::vector<Tensor> saved = {};
  std::int64_t products = 0;
  bool trains = false;  // record it even when no input wants a gradient: parameters inside do
  Backward backward = {};
};

class Tape {
 public:
  explicit Tape(Tracer* tracer = nullptr) : tracer_(tracer) {}
  Tape(const Tape&) = delete;

  Var input(const Tensor& value, bool wants_gradient = false);
  Var parameter(Parameter& p);
  // Replaces the gradient buffers that parameters' gradients are added to (micro-batches with sums of their own).
  // `redirect` maps a parameter's main_grad to the buffer used instead.
  using Redirect = std::function<Tensor(const Parameter&)>;
  void redirect_gradients(Redirect redirect) { redirect_ = std::move(redirect); }
  const Redirect& redirect() const { return redirect_; }

  // Runs every recorded backward once, last first, and frees what it saved. A seed has its output's shape.
  void backward(std::span<const Var> outputs, std::span<const Tensor> seeds);
  void backward(const Var& output, const Tensor& seed) { backward(std::span(&output, 1), std::span(&seed, 1)); }
  Tensor gradient(const Var& input) const;  // of an input() var; null when nothing flowed back

  bool wants(const Var& v) const { return v.edge >= 0 && edges_[static_cast<std::size_t>(v.edge)].wanted; }
  Tracer* tracer() const { return tracer_; }
  void measure(OpTimes* times) { times_ = times; }  // autograd/op_times.h; null: not measured
  std::span<const Node> nodes() const { return nodes_; }
  std::int64_t forward_products() const { return forward_products_; }  // multiply-adds so far
  std::int64_t backward_products() const { return backward_products_; }
  std::int64_t recomputed_products() const { return recomputed_products_; }
  void count_recomputed(const Tape& inner);

 private:
  friend std::vector<Var> record_all(Recording);
  struct Edge {
    Shape shape;
    Dtype dtype;
    Device* device;
    bool wanted;
    Parameter* parameter;
    int producer;  // node, or -1
    int part;      // which output of it
  };
  int add_edge(const Tensor& t, bool wanted, Parameter* parameter, int producer, int part);
  Tensor gradient_buffer(const Parameter& p) const { return redirect_ ? redirect_(p) : p.main_grad; }
  Tensor fresh_gradient(int edge, bool zeroed);
  void add_gradient(int edge, Tensor gradient);
  void run_backward(Node& node);

  std::vector<Edge> edges_;
  std::vector<Node> nodes_;
  std::vector<Tensor> gradients_;  // by edge
  std::unordered_map<int, Tensor>
      whole_;  // by split node: the gradient of what was split, whose slices its parts' gradients are
  std::unordered_map<const Parameter*, int> parameter_edges_;
  Redirect redirect_;
  Tracer* tracer_;
  OpTimes* times_ = nullptr;
  std::int64_t forward_products_ = 0, backward_products_ = 0, recomputed_products_ = 0;
};

// The tape of the first argument that has one, or null.
Tape* tape_of(std::initializer_list<const Var*> vars);

// Puts an op on the tape of its inputs and returns its outputs as Vars; without a tape only wraps the values.
std::vector<Var> record_all(Recording r);
inline Var record(Recording r) { return std::move(record_all(std::move(r))[0]); }

// Receives named activations while a tape runs (audit/trace).
class Tracer {
 public:
  virtual ~Tracer() = default;
  virtual void activation(const std::string& name, const Tensor& value) = 0;
};

// Gives an activation its Hugging Face module name, for traces; free otherwise.
inline const Var& named(const std::string& name, const Var& v, Tracer* tracer = nullptr) {
  if (!tracer && v.tape) tracer = v.tape->tracer();
  if (tracer) tracer->activation(name, v.value);
  return v;
}

}  // namespace ov
