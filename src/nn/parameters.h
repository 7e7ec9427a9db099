// All parameters of a model, in the order they are declared, which is the order of the name table: embedding, layers,
// head.
//
// Values lie in one flat buffer, one after another without gaps; or, to be read alone, each where its file is mapped.
// What is trained has a place in gradient buffers, which belong to who computes gradients, and in the optimiser's
// state: ZeRO, AdamW, the gradient norm and checkpoints work on ranges of them. Parameters that one product serves
// (q|k|v, gate|up) are declared one after another and read through a fused Parameter, which is a view over all of them.
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "autograd/parameter.h"
#include "comm/communicator.h"
#include "nn/lora_options.h"

namespace ov {

// How tensor-parallel ranks divide a parameter (parallel/tensor.h): not at all, every rank holds it; or by the rows of
// a matrix, by the rows of each of its thirds (q, k and v in one), by its columns.
enum class Cut { none, rows, thirds, columns };

class Parameters {
 public:
  explicit Parameters(Communicator& tensor = one_rank(), Communicator& pipe = one_rank(),
                      Communicator& experts = one_rank())
      : tensor_(&tensor), pipe_(&pipe), experts_(&experts) {}
  Communicator& tensor() const { return *tensor_; }  // the ranks that hold one model together, cut by heads and widths
  Communicator& pipe() const { return *pipe_; }      // and by layers (parallel/pipeline.h)
  // Those that share its experts (parallel/expert.h) or its class tables (parallel/classes.h).
  Communicator& experts() const { return *experts_; }

  struct Entry {
    Parameter parameter;
    Shape shape;          // of this rank's part: of no rows where another rank holds it
    std::int64_t offset;  // elements, into the flat value buffer
    Shape whole;          // of all ranks together
    Cut cut;
    Shape part;         // as `shape`, on the rank of the pipeline that holds it
    int holder;         // that rank
    int chunk;          // of the pipeline
    int block;          // the layer that it is used in; -1: none
    int expert_holder;  // the rank among those that share experts; -1: all of them hold it

    // The whole in memory is blocks of which each rank has an equal stretch; [blocks, stretch] of the whole tensor, and
    // of the rank's own.
    std::int64_t blocks() const { return cut == Cut::thirds ? 3 : cut == Cut::columns ? whole[0] : 1; }
    Tensor part_of(const Tensor& all, int rank) const;
    Tensor blocks_of(const Tensor& own) const { return own.view({blocks(), shape.numel() / blocks()}); }
  };

  // What is declared from here on belongs to `module`.
  Parameters& in(Module module) {
    module_ = module;
    return *this;
  }
  // And to that chunk of a pipeline, whose rank alone holds it.
  Parameters& at(int chunk) {
    chunk_ = chunk;
    return *this;
  }
  // Or to that rank of those that share experts; -1: to all of them.
  Parameters& of_rank(int expert_holder) {
    expert_holder_ = expert_holder;
    return *this;
  }
  // What is declared until end_block() is used together: a layer, whose number comes back, from 0 on.
  int begin_block() { return block_ = blocks_++; }
  void end_block() { block_ = -1; }
  int blocks() const { return blocks_; }
  bool holds(const Entry& e) const {
    return e.holder == pipe_->rank() && (e.expert_holder < 0 || e.expert_holder == experts_->rank());
  }
  // p as `chunk` reads it: p itself, or a copy of its value where another rank holds it, which lend() fills.
  Parameter* lent(Parameter* p, int chunk);
  struct Lent {
    Parameter copy;
    Parameter* of;
    int from, to;  // ranks of the pipeline
  };
  const std::deque<Lent>& lent() const { return lent_; }
  std::vector<std::string> stages;  // by rank of the pipeline, what it holds, in words
  void lend() const;                // sends the values as they are now; a call of all ranks of the pipeline
  // input_error when the name is taken, or when the ranks cannot divide the whole shape evenly.
  Parameter* declare(const std::string& name, const Shape& whole, Role role, Cut cut = Cut::none);
  // A view over neighbours whose shapes differ in the first axis only.
  Parameter* fuse(const std::vector<Parameter*>& parts);
  // Puts low-rank matrices beside those that the options choose (nn/lora.h), before allocate().
  void adapt(const LoraOptions& options);
  struct Adapter {
    const Parameter* w;  // a matrix with a name, expert by expert
    Parameter *a, *b;
  };
  const std::vector<Adapter>& adapters() const { return adapters_; }
  bool adapts(Module module) const;  // something of it
  const LoraOptions& lora() const { return lora_; }
  // A table that the model reads and nobody trains (rotary frequencies): on the parameters' device after allocate().
  const Tensor* constant(const std::vector<float>& values);
  // `name` is another name of p: a tied head.
  void alias(const std::string& name, Parameter* p) { aliases_[name] = p; }

  void allocate(Dtype dtype, Device& device);  // values unspecified
  // Values on the host that nobody will write to, and no flat buffer: each is stored(entry) itself where that has this
  // type and, for the parts of one product, where they follow each other in memory; what does not is copied.
  void borrow(Dtype dtype, const std::function<Tensor(const Entry&)>& stored);
  // Which parameters are trained, and with that the layout of gradient buffers.
  using Choice = std::function<bool(const Parameter&)>;
  void train(const Choice& trainable);
  // Master weights of the trained elements [begin, end), which this rank updates (parallel/data.h), from the values as
  // they are now; no others are ever made. None where values accumulate in their own type. on: null: where the
  // parameters are.
  void make_masters(std::int64_t begin, std::int64_t end, Device* on = nullptr);

  // Where data-parallel ranks divide the values (parallel/zero3.h), and there is no flat buffer: the values of a block
  // are here when need() returns, until another block is needed.
  struct Divided {
    Tensor values;  // of what this rank updates, and behind those of what of the frozen it keeps
    std::function<void(int block)> need;
  };
  void divide(Divided divided);
  void undivide();  // a flat buffer again, contents unspecified
  bool divided() const { return static_cast<bool>(divided_.need); }
  const Tensor& own_values() const { return divided_.values; }
  void need(int block) const {
    if (divided()) divided_.need(block);
  }
  // The elements of the flat buffer from `first` on lie in `values` from now on.
  void lie_in(const Tensor& values, std::int64_t first);

  const std::deque<Entry>& entries() const { return entries_; }
  const std::map<std::string, Parameter*>& aliases() const { return aliases_; }
  Parameter* find(const std::string& name);  // aliases too; null when there is none
  std::int64_t count() const { return total_; }
  std::int64_t trained() const { return trained_; }  // elements of a gradient buffer
  struct Count {
    std::int64_t all = 0, trained = 0;
  };
  Count whole_count() const;                        // of all ranks that hold the model together
  Count part_count(int holder) const;               // of a rank of the pipeline, one of those that share experts
  const Tensor& values() const { return values_; }  // [count()]; null after borrow() and divide()
  // Laid out as gradients, from element masters_begin() on, in the dtype that values accumulate in; null when that is
  // their own, and before make_masters().
  const Tensor& masters() const { return masters_; }
  std::int64_t masters_begin() const { return masters_begin_; }
  bool has_all_masters() const { return !masters_ || masters_.numel() == trained_; }
  // What is here of p's master, flat, and the element of p that it begins with; null when that is nothing.
  struct Stretch {
    Tensor values;
    std::int64_t begin = 0;
  };
  Stretch master_of(const Parameter& p) const;
  // p with all digits that there are: its master, or its value when it has none. Where other ranks have some of the
  // masters it comes from where precise_from() says.
  Tensor precise(const Parameter& p) const;
  using Source = std::function<Tensor(const Parameter&)>;
  void precise_from(Source source) { precise_from_ = std::move(source); }
  Dtype dtype() const { return dtype_; }
  Device& device() const { return *device_; }
  // A buffer for all gradients, contents unspecified.
  Tensor gradient_buffer() const { return {{trained_}, accum_dtype(dtype()), device(), Segment::gradients}; }

 private:
  struct Fused {
    Parameter parameter;
    std::vector<Parameter*> parts;
  };
  const Entry& entry_of(const Parameter* p) const;
  Communicator *tensor_, *pipe_, *experts_;
  int chunk_ = 0, expert_holder_ = -1, block_ = -1, blocks_ = 0;
  Divided divided_;
  std::deque<Lent> lent_;
  std::deque<Entry> entries_;
  std::deque<Fused> fused_;
  std::deque<Tensor> constants_;
  std::deque<LowRank> low_rank_;
  std::vector<Adapter> adapters_;
  LoraOptions lora_;
  std::map<std::string, Parameter*> aliases_;
  std::unordered_map<std::string, Parameter*> by_name_;
  Module module_ = Module::language_model;
  Dtype dtype_ = Dtype::f32;
  Device* device_ = nullptr;
  std::int64_t total_ = 0, trained_ = 0;
  Tensor values_, masters_;
  std::int64_t masters_begin_ = 0;
  Source precise_from_;
};

}  // namespace ov
