// Reverse-mode differentiation on an explicit tape.
//
// A Tape is an object, a Var knows its tape, nothing is global: several may be alive. Recording an op stores a Node:
// its input and output edges (shape and type, no storage), the tensors its backward reads, and the backward itself,
// which captures numbers only. Without a tape nothing is stored, so generation runs the same model code.
//
//   Tape tape(gradients);                          // the flat buffer that parameters' gradients are added to
//   Var x = tape.input(tensor);                    // gradients of inputs can be asked for afterwards
//   Var y = linear(x, tape.parameter(w));
//   tape.backward({y}, {dy});
//   Tensor dx = tape.gradient(x);
//
// Who owns the buffer of an input's gradient stands in the op's row (autograd/registry.h), one word an input:
//
//   fresh        the tape makes one, backward overwrites it                            most activations
//   added        the parameter's slice of the gradient buffer, for an activation zeros of its accumulation type:
//                backward adds to it
//   handed_over  none: backward hands over a tensor, which may be the output's gradient itself (add, view)
//   slice        the outputs are views of the input (split): the tape hands out their gradients as slices of one
//                buffer, which then is the input's gradient; backward fills in what came another way
//
// The tape adds in the accumulation type where an activation is used several times, later uses first.
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

// A part of a model: a function of its inputs and of parameters alone.
using Block = std::function<std::vector<Var>(std::span<const Var>)>;

struct Node;

// What a backward sees: gradients of the outputs (null if nothing flowed back) and buffers for those of the inputs
// (null if nobody wants them, or if backward hands over its own).
struct Grads {
  Tape& tape;  // that runs the backward
  std::vector<Tensor> out;
  std::vector<Tensor> in;
};

using Backward = std::function<void(const Node&, Grads&)>;

struct Node {
  Op op{};
  std::vector<int> inputs;  // edges; -1 for an argument left out
  std::vector<int> outputs;
  std::vector<bool> wanted;  // one an input: does anybody want its gradient
  std::vector<Shape> input_shapes, output_shapes;
  Dtype dtype{};  // of the outputs
  std::vector<Tensor> saved;
  std::vector<int> inside;  // edges of parameters that backward adds to by itself (recompute)
  std::int64_t pairs = 0;   // attention: visible pairs of a query and a key
  int form = 0;             // of an op that has several (gelu), as its kernel numbers them
  Backward backward;
};

// Designated initialisers of record().
struct Recording {
  Op op;
  std::vector<Var> inputs = {};
  std::vector<Tensor> outputs = {};
  std::vector<Tensor> saved = {};
  std::vector<Var> inside = {};
  std::int64_t pairs = 0;
  int form = 0;
  bool trains = false;  // record it even when no input wants a gradient: parameters inside do
  Backward backward = {};
};

class Tape {
 public:
  // `gradients`: laid out as Parameters says (Parameter::gradient); null: no parameter has a gradient.
  explicit Tape(Tensor gradients = {}, Tracer* tracer = nullptr) : sums_(std::move(gradients)), tracer_(tracer) {}
  Tape(const Tape&) = delete;  // nor moved: Vars point to it

  Var input(const Tensor& value, bool wants_gradient = false);
  Var parameter(Parameter& p);

  // Runs every recorded backward once, last first, and frees what it saved. A seed has its output's shape; it is null
  // where nothing flows back.
  void backward(std::span<const Var> outputs, std::span<const Tensor> seeds);
  void backward(const Var& output, const Tensor& seed) { backward(std::span(&output, 1), std::span(&seed, 1)); }
  Tensor gradient(const Var& input) const;  // of an input() var; null when nothing flowed back
  // backward() calls complete(k) once nothing that is left to run adds to the elements [k size, (k+1) size) of the
  // gradient buffer; at its start for those that nothing on the tape adds to. Such a tape goes backward once.
  void report(std::int64_t size, std::function<void(std::int64_t k)> complete) {
    size_ = size, complete_ = std::move(complete);
  }
  std::vector<Parameter*> parameters() const;  // that were asked for, in that order

  bool wants(const Var& v) const { return v.edge >= 0 && edges_[static_cast<std::size_t>(v.edge)].wanted; }
  Tracer* tracer() const { return tracer_; }
  // What random draws of a training step depend on besides their seed; dropout happens on such a tape alone. leaf: the
  // micro-batch's number within the whole step, on whatever rank it runs.
  struct Draws {
    bool on = false;
    std::uint64_t step = 0, leaf = 0;
  };
  void draw(const Draws& draws) { draws_ = draws; }
  const Draws& draws() const { return draws_; }
  void measure(OpTimes* times) { times_ = times; }  // autograd/op_times.h; null: not measured
  std::span<const Node> nodes() const { return nodes_; }
  // Multiply-adds so far, as the rows' costs say (autograd/cost.h).
  struct Products {
    std::int64_t forward = 0, backward = 0, recomputed = 0;
  };
  const Products& products() const { return products_; }
  // For a part of the same leaf that has a tape and a gradient buffer of its own: it is traced, drawn and measured as
  // this one, and what it multiplied counts here.
  void lead(Tape& part) const { part.tracer_ = tracer_, part.draws_ = draws_, part.times_ = times_; }
  void count(const Products& of_part) {
    products_.forward += of_part.forward, products_.backward += of_part.backward;
    products_.recomputed += of_part.recomputed;
  }
  const Tensor& gradients() const { return sums_; }
  // Runs `block` again, on `inputs` detached from this tape, and its backward from the `seeds` of its outputs;
  // parameters' gradients go where this tape's go. Returns the gradients of the inputs that are `wanted`.
  std::vector<Tensor> backward_again(const Block& block, const std::vector<Tensor>& inputs,
                                     const std::vector<bool>& wanted, std::span<const Tensor> seeds);

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
  Tensor fresh_gradient(int edge);
  void add_gradient(int edge, Tensor gradient);
  void run_backward(Node& node);
  template <class F>
  void for_stretches(const Edge& edge, F&& f) const;
  template <class F>
  void for_stretches(const Node& node, F&& f) const;

  std::vector<Edge> edges_;
  std::vector<Node> nodes_;
  std::vector<Tensor> gradients_;           // by edge
  Grads grads_{*this, {}, {}};              // of the node that goes backward
  std::unordered_map<int, Tensor> sliced_;  // by node: the input's gradient whose slices its outputs' gradients are
  std::unordered_map<const Parameter*, int> parameter_edges_;
  Tensor sums_;  // of parameters' gradients
  std::int64_t size_ = 0;
  std::function<void(std::int64_t)> complete_;
  std::vector<std::int64_t> left_;  // by stretch of size_ elements: nodes that have yet to add to it
  Tracer* tracer_;
  OpTimes* times_ = nullptr;
  Draws draws_;
  Products products_;
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
