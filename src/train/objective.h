// What a step optimises, and all that knows a model: language modelling, region discrimination, pairs of
// pictures and captions, answers with rewards. The engine (train/engine.h) knows the rest.
//
//   prepare(step)          loads the step's data and counts its leaves and denominators; every rank knows all of them
//   normalise(sums)        the denominators of the whole step
//   run(leaf, tape, scalars)  forward and backward of one leaf, a micro-batch; several leaves may run at once. What the
//                          host wants to know goes into the step's scalars, one small tensor on the device
//   losses(scalars)        of all leaves, when the engine has read them: once, late
#pragma once
#include <memory>

#include "autograd/tape.h"
#include "base/json.h"
#include "nn/parameters.h"

namespace ov {

// What a step was loaded with.
struct Loaded {
  std::int64_t leaves = 0, samples = 0, tokens = 0, patches = 0;
  std::vector<std::int64_t> denominators;
  // About how long each leaf takes, in one unit: of several side by side the longest begins. Empty: alike.
  std::vector<std::int64_t> sizes = {};
};

struct Losses {
  double loss = 0;              // what is optimised
  std::int64_t labelled = 0;    // tokens or labels that it is about
  Json parts = Json::object();  // by name, for the log: parts of the loss, shares of hits
  std::string note;             // beside the progress bar
};

// One leaf in one chunk of a model that several ranks hold (parallel/pipeline.h). It takes what the step before gave
// and gives what the next step takes.
class LeafChunk {
 public:
  virtual ~LeafChunk() = default;
  virtual std::vector<Tensor> forward(const std::vector<Tensor>& from) = 0;
  virtual std::vector<Tensor> backward(const std::vector<Tensor>& from) = 0;
  virtual Tape::Products products() const = 0;
  virtual void measure(OpTimes* times) = 0;  // as Tape::measure
};

class Objective {
 public:
  virtual ~Objective() = default;
  virtual Parameters& parameters() const = 0;
  virtual bool says_needs() const { return false; }  // its model says which block it needs (Parameters::need)
  virtual Loaded prepare(std::int64_t step) = 0;     // from 0
  virtual void normalise(const std::vector<std::int64_t>& denominators) = 0;
  // Loads the next step's data. The engine calls it beside the last leaves; an error is prepare()'s, at its time.
  virtual void prefetch() {}
  virtual std::int64_t scalars() const = 0;  // of the prepared step
  // scalars [scalars()] f64, 0 where no leaf has written.
  virtual void run(std::int64_t leaf, Tape& tape, const Tensor& scalars) = 0;
  // In place of run() where ranks that share experts have a leaf and this one has none (parallel/expert.h).
  virtual void serve(Tape& tape) { static_cast<void>(tape); }
  // In a pipeline, in place of run(). begin() gives null for a leaf of which there is nothing to do; message() what
  // step `step` of it is handed, to be filled: null where nothing is; add_lent() makes step 2K (parallel/pipeline.h).
  virtual std::unique_ptr<LeafChunk> begin(std::int64_t leaf, int chunk, const Tensor& gradients, const Tensor& scalars,
                                           Tracer* tracer);
  virtual std::vector<Tensor> message(std::int64_t leaf, int step) const;
  virtual void add_lent(std::int64_t leaf, const std::vector<Tensor>& from, const Tensor& gradient) const;
  virtual int chunks() const { return 1; }                                     // of the model
  virtual Communicator& context() const { return one_rank(); }                 // that share a leaf (parallel/context.h)
  virtual void updated(const Tensor& scalars) { static_cast<void>(scalars); }  // behind the optimiser's step
  virtual Losses losses(std::span<const double> scalars) = 0;
  virtual std::uint64_t batch_checksum() const = 0;  // of the data that prepare() loaded
  // Where the data stands after the last prepared step, whatever was loaded ahead.
  virtual Json state() const = 0;
  virtual void restore(const Json& state) = 0;
};

// Backward from losses [1] whose sum is optimised.
void backward_from(Tape& tape, std::span<const Var> losses);

}  // namespace ov
