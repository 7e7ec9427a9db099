// What the loaders of samples and of packs have in common: micro_batch(step, m) makes any micro-batch of the run, and
// next() hands out one step after the other, which a background thread prepares while the caller works on the last.
// Preparing ahead does not show: steps, state and rejects are those of a loader without it.
#pragma once
#include <future>
#include <string>
#include <vector>

#include "data/load/record_cache.h"
#include "data/load/reject_log.h"
#include "data/sample/sample.h"
#include "data/source.h"

namespace ov {

struct LoadedMicroBatch {
  MicroBatch batch;           // samples of faulty records are counted in it, and have no segment
  std::vector<Fault> faults;  // in the order of the slots
};

class StepLoader : public StepSource {
 public:
  StepLoader(const StepLoader&) = delete;

  // Which records micro-batch m of step `step` is made of, and what is known of them.
  virtual MicroBatchPlan plan(std::int64_t step, std::int64_t m) const = 0;
  // The micro-batch itself: a function of the arguments alone. Without any good sample it has no token. Safe from
  // several threads. Throws what load() throws.
  LoadedMicroBatch micro_batch(std::int64_t step, std::int64_t m) const;
  std::int64_t micro_batches() const { return order_.micro_batches(); }  // of a step

  // Throws input_error when more than max_rejects records are rejected, or all of them; what micro_batch() throws.
  // After an error every call throws it again.
  GlobalStep next() override;

  const LoaderState& position() const { return state_; }  // after the last step delivered, whatever is prepared
  const RejectCounts& rejects() const { return state_.rejects; }
  Json state() const override { return state_.json(); }
  // Continues exactly as the loader whose state this was; lines that were written to rejects_path after it are dropped.
  // Throws input_error when the state belongs to other data, another seed or other steps.
  void restore(const LoaderState& state);
  void restore(const Json& state) override { restore(LoaderState::from_json(state, "loader state")); }

 protected:
  // `data` is the fingerprint of the records, `path` names them, and `samples` counts what can be rejected.
  StepLoader(SlotOrder order, const std::string& data, std::string path, std::int64_t samples, const char* what,
             RejectOptions rejects, bool prefetch);

  // Appends the samples of the slot's record, or pack: an empty one for each that is faulty, and why to `faults`.
  virtual void load(const Slot& slot, std::vector<Sample>& samples, std::vector<Fault>& faults) const = 0;
  virtual std::int64_t capacity() const { return 0; }  // tokens of a micro-batch, where it is filled up to a limit

  // Waits for the background thread. A derived class calls it in its destructor: the thread uses its members.
  void stop();

  const SlotOrder order_;

 private:
  struct Prepared {
    std::vector<LoadedMicroBatch> micro_batches;
    std::exception_ptr error;  // of the next one
  };
  void start();
  GlobalStep deliver(Prepared prepared);

  const std::string path_;
  const std::int64_t samples_;
  const bool prefetch_;
  LoaderState state_;
  RejectLog rejects_;
  std::exception_ptr failed_;
  std::future<Prepared> pending_;
};

}  // namespace ov
