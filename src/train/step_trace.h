// What every rank did in one step, when, and with whom, as one file in Chrome's trace format (chrome://tracing,
// https://ui.perfetto.dev): --log.trace. A rank is a process, its streams are threads:
//
//   step             the step and its parts, one after another
//   communication    calls of the communicator: bytes by partner, and the axis of the mesh on which they differ. A
//                    message is an arrow from its sender's call to its receiver's
//   beside           the same of calls beside the leaves: gradients that are summed while the backward pass goes on
//                    (parallel/overlap.h). On a device that queues its work a call's time is that of its queueing
//   leaves 0, 1 ..   micro-batches, or in a pipeline their passes of a chunk; within them operations, with the module
//                    whose parameters they read (of others the part of the model that lies around them) and the bytes
//                    that they move at the least (autograd/cost.h)
//
// Times are rank 0's. Clocks are compared after the step (comm/clocks.h): "clocks" names, by rank, one that is ahead
// and by how much, in microseconds, and how wrong that may be, so that an arrow may seem to go back by as much.
//
// Operations follow each other without gaps: what lies between two belongs to the later (autograd/op_times.h). On a
// device that queues its work every operation is waited for, so that a traced step takes longer there.
//
// All ranks take part in start() and finish(); the first writes the file.
#pragma once
#include <mutex>
#include <string>
#include <vector>

#include "autograd/op_times.h"
#include "comm/traced_ranks.h"

namespace ov {

struct StepOptions;

class StepTrace {
 public:
  // step: from 1. input_error when `path` is a file that is no trace: it would be replaced. `clock`: of this process.
  StepTrace(std::string path, std::int64_t step, Communicator& world, Clock clock = now_ns);
  TracedRanks& ranks() { return ranks_; }  // through which the run has to talk
  std::int64_t step() const { return step_; }
  const std::string& path() const { return path_; }

  void start();
  bool on() const { return on_; }
  void phase(const char* name);  // so is called what was since start() or the last phase
  // Several threads may call it. `work`: how a piece of a leaf went; its operations are taken.
  void leaf(const std::string& name, std::int64_t begin, OpTimes& work);
  void finish(const StepOptions& mesh);  // writes the file, durably

  // The module of each operation: that of its parameter; between two, what their modules have in common.
  static std::vector<std::string> modules(const std::vector<OpTimes::Done>& done);

 private:
  struct Span {
    std::string name;
    std::int64_t begin, end;
    std::vector<OpTimes::Done> ops = {};
  };
  std::string events(const std::vector<TracedRanks::Exchange>& calls, std::int64_t origin,
                     const StepOptions& mesh) const;
  const std::string path_;
  const std::int64_t step_;
  TracedRanks ranks_;
  const Clock clock_;
  bool on_ = false;
  std::int64_t begin_ = 0, last_ = 0;
  std::vector<Span> phases_, leaves_;
  std::mutex mutex_;
};

}  // namespace ov
