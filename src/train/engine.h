// The one step of every training run. A step has leaves (micro-batches); their gradients are added in a fixed order,
// clipped, and given to the optimiser once. What is optimised is the objective's matter (train/objective.h).
//
//   objective.prepare -> this rank's leaves side by side, each on a tape and a buffer of its own -> tree or chain of
//   their gradients -> the sum over ranks (parallel/data.h) -> norm, AdamW -> losses, checksums, report
//
// With `overlap` the last leaves, the tree and the sum over ranks go on at the same time (parallel/overlap.h).
#pragma once
#include <memory>
#include <optional>

#include "parallel/data.h"
#include "parallel/overlap.h"
#include "parallel/pipeline.h"
#include "train/floor.h"
#include "train/gradient_sum.h"
#include "train/objective.h"
#include "train/optimizer.h"
#include "train/pipeline_run.h"
#include "train/schedule.h"
#include "train/step_times.h"
#include "train/step_trace.h"

namespace ov {

struct StepOptions {
  std::int64_t steps = 100;
  Schedule schedule;  // its `steps` is set from the above
  OptimizerOptions optimizer;
  bool tree = true;          // train.grad_sum: tree, or chain
  bool side_by_side = true;  // with a tree: leaves on one thread each, when there are enough of them
  // Bytes that may be allocated on the device while leaves run side by side, as far as those that ran before tell what
  // a leaf takes; 0: any. It bounds how many run at a time and changes no bit. One alone always runs.
  std::int64_t memory_budget = 0;
  std::int64_t checksum_every = 1;  // steps; 0: never
  bool floor = false;               // measure the least time of every step (train/floor.h)
  int zero = 1;                     // stage of ZeRO between ranks (parallel/data.h)
  std::optional<bool> overlap;      // sum gradients beside backward (parallel/overlap.h); null: on GPUs, where it can
  std::int64_t bucket = 0;          // elements that are summed at a time then, chunks of the norm; 0: as usual there
  int tensor = 1;                   // ranks that hold one model together (parallel/mesh.h), cut by heads and widths,
  int pipeline = 1, chunks = 1;     // and by layers, in so many chunks a rank (parallel/pipeline.h)
  int context = 1;                  // ranks that share a micro-batch's tokens (parallel/context.h)
  int experts = 1;                  // data-parallel ranks that share experts (parallel/expert.h)
  int classes = 1;                  // or class tables (parallel/classes.h)
};

struct Checksums {
  std::uint64_t batch = 0, loss = 0, gradients = 0, parameters = 0;
};

struct StepReport {
  std::int64_t step = 0;        // from 1
  double loss = 0;              // what is optimised
  Json parts = Json::object();  // the objective's own, by name
  std::string note;             // the objective's, beside the progress bar
  double lr = 0, gradient_norm = 0;
  std::int64_t samples = 0, tokens = 0, labelled = 0, patches = 0;
  std::int64_t products = 0;  // multiply-adds without recomputation
  double seconds = 0, data_seconds = 0;
  double floor_seconds = 0, plain_floor_seconds = 0;  // 0 unless asked for (train/floor.h)
  std::optional<Checksums> checksums;
};

// What a run is restored from.
struct TrainingState {
  Parameters& parameters;
  Optimizer& optimizer;
  std::int64_t step = 0;  // done
  Json data = {};         // where the data stands
  Communicator& ranks = one_rank();
  Communicator& context = one_rank();  // all of which have the same
  DataParallel* parallel = nullptr;    // of those ranks; null: each has all values
};

class StepEngine {
 public:
  // `ranks` divide the leaves; where each of them is several (Parameters::tensor), those run every leaf together. Where
  // each is several that share experts (Parameters::experts), they divide turns of as many leaves (parallel/expert.h).
  StepEngine(Objective& objective, const StepOptions& options, Communicator& ranks = one_rank());
  // Throws machine_error when the loss or a gradient is not finite, and names the first activation or gradient.
  StepReport step();

  std::int64_t steps_done() const { return done_; }
  const StepOptions& options() const { return options_; }
  Optimizer& optimizer() { return optimizer_; }
  const StepTimes& times() const { return times_; }  // of this process's steps, when a floor was asked for
  const Tensor& gradients() const { return sum_; }   // of the last step, laid out as Parameters says: optimizer().own()
  Tape::Products products() const;                   // of this rank's leaves of the last step
  TrainingState state() {
    return {objective_.parameters(), optimizer_, done_, objective_.state(), ranks(), context(), parallel_.get()};
  }
  Communicator& ranks() const { return parallel_->ranks(); }
  Communicator& tensor() const { return objective_.parameters().tensor(); }
  Communicator& pipe() const { return objective_.parameters().pipe(); }
  Communicator& experts() const { return objective_.parameters().experts(); }
  Communicator& context() const { return objective_.context(); }
  const DataParallel& parallel() const { return *parallel_; }
  bool overlaps() const { return overlaps_; }  // sums over ranks go on beside the backward pass
  // Of all values as they are, or of masters where there are some and `precise`: a call of all ranks.
  std::uint64_t values_checksum(bool precise) const;
  void restore(const TrainingState& state);
  void trace(StepTrace* trace) { trace_ = trace; }  // notes its step when that comes; null: none

  // The first half of a step: its data, and gradients as the leaves [begin, end) give them, or the turns.
  void prepare();
  const Tensor& accumulate(std::int64_t begin, std::int64_t end, bool prefetch = true) {
    return accumulate(begin, end, prefetch, nullptr);
  }

 private:
  struct Leaf {
    Tape::Products products;
    BatchTimes times;
  };
  Tape::Draws draws(std::int64_t leaf) const;
  void run_leaf(std::int64_t turn, const Tensor& gradients, Overlap* overlap);
  // beside: given, it is what sums over the ranks beside the last leaves, and still does when this returns.
  struct Beside {
    int adding;  // DataParallel::Round
    std::unique_ptr<Overlap> sum;
  };
  const Tensor& accumulate(std::int64_t begin, std::int64_t end, bool prefetch, Beside* beside);
  void sum_beside(Beside& beside, std::vector<TreeSum::Addition> additions, std::int64_t leaves);
  std::int64_t together(std::int64_t left) const;
  bool traces() const { return trace_ && trace_->on(); }
  void phase_done(const char* name) const {
    if (traces()) trace_->phase(name);
  }
  void sum_gradients();
  void run_in_pipeline(std::int64_t begin, std::int64_t end, Tracer* tracer = nullptr);
  [[noreturn]] void report_not_finite();

  Objective& objective_;
  StepOptions options_;
  std::unique_ptr<DataParallel> parallel_;
  Optimizer optimizer_;
  TreeSum tree_, rounds_;                // of leaves, and of the rounds that they come in
  std::optional<PipelineRun> pipeline_;  // where there is one
  std::optional<WholeChunks> whole_;
  std::unique_ptr<Floor> floor_;
  StepTrace* trace_ = nullptr;
  StepTimes times_;
  Loaded data_;                   // of the step under way
  std::vector<Leaf> leaves_;      // of the step under way
  Tensor scalars_;                // of the step under way: the gradients' norm, and the objective's
  Tensor gradients_;              // the sum over leaves of this rank
  Tensor sum_;                    // over all ranks, as far as this one updates it
  std::int64_t leaf_memory_ = 0;  // the most that a leaf has taken beside its gradients
  std::int64_t done_ = 0;
  bool overlaps_ = false, warm_ = false;  // warm: this process has made a step
};

}  // namespace ov
