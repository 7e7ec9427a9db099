// From a data set's records to the batches of optimiser steps, in an order that is a function of the seed alone.
//
//   epoch e, position p   ->   record Permutation(n, seed, e)(p)
//
// A step is micro_batches_per_step packed rows of samples_per_micro_batch samples; records are taken in order, and one
// that is rejected (data/reject.h) gives its place to the next. Epochs follow one another without a seam, so a step may
// hold the end of one and the beginning of the next.
//
// The next step is prepared by a background thread while the caller works on this one, and samples are kept decoded
// while they fit into cache_bytes. Neither shows: order, batches, state and rejects are those of a loader without them.
#pragma once
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/rng.h"
#include "data/batch.h"
#include "data/conversations.h"
#include "data/loader_state.h"
#include "data/processor.h"
#include "data/sample.h"
#include "data/source.h"
#include "store/jsonl.h"

namespace ov {

struct LoaderOptions {
  std::string json;       // conversation file or webdataset: data/records.h
  std::string image_dir;  // where relative image paths start; "": beside the file
  SampleOptions sample;   // turns, max_tokens
  PixelLimits limits;     // in place of the processor's
  std::int64_t samples_per_micro_batch = 1, micro_batches_per_step = 1;
  std::int64_t seed = 1234;
  std::int64_t max_rejects = 100;  // different records; one more is an error
  std::string rejects_path;        // JSON lines {"epoch", "record", "reason", "message"}; "": not written
  std::int64_t cache_bytes = std::int64_t{512} << 20;
  bool prefetch = true;
};

// Numbered records that each give one sample.
class SampleSource {
 public:
  virtual ~SampleSource() = default;
  virtual const std::string& path() const = 0;
  virtual std::int64_t size() const = 0;
  virtual Sample sample(std::int64_t index) const = 0;  // 0 <= index < size(); throws Rejected
};

class Loader : public StepSource {
 public:
  // Conversations of the data set options.json. Throws input_error: the file (data/conversations.h), a count below 1,
  // limits out of order.
  Loader(LoaderOptions options, const Processor& processor);
  // Records of another kind; options.json, image_dir and sample are not used.
  Loader(LoaderOptions options, const Processor& processor, std::unique_ptr<const SampleSource> source);
  Loader(const Loader&) = delete;

  // Throws input_error when more than max_rejects records of an epoch are rejected, or all of them, with counts and the
  // last reason; machine_error when a file cannot be read. After an error every call throws it again.
  GlobalStep next() override;

  // After the last step delivered, whatever is prepared already.
  const LoaderState& position() const { return state_; }
  Json state() const override { return state_.json(); }
  // Goes on exactly as the loader whose state this was; lines that were written to rejects_path after it are dropped.
  // Throws input_error when the state belongs to another seed or number of records.
  void restore(const LoaderState& state);
  void restore(const Json& state) override { restore(LoaderState::from_json(state, "loader state")); }

  std::int64_t records() const { return source_->size(); }
  const RejectCounts& rejects() const { return state_.rejects; }
  const Processor& processor() const { return processor_; }  // with `limits` applied

 private:
  struct Prepared {
    GlobalStep step;
    LoaderState state;  // behind the step
    std::vector<Json> rejects;
    std::exception_ptr error;
  };
  Prepared prepare(LoaderState state);
  void fill(GlobalStep& step, LoaderState& state, std::vector<Json>& rejects);
  std::shared_ptr<const Sample> take(LoaderState& state, std::vector<Json>& rejects);
  void start();
  void write(const std::vector<Json>& rejects);

  const LoaderOptions options_;
  const Processor processor_;
  const std::unique_ptr<const SampleSource> source_;
  LoaderState state_;
  std::optional<JsonlWriter> rejects_;
  std::exception_ptr failed_;
  // Only prepare() uses the cache, and one call of it ends before the next begins. A full cache keeps what it has:
  // every record comes once an epoch, so whatever is thrown out for another would be missed as much.
  std::unordered_map<std::int64_t, std::shared_ptr<const Sample>> cache_;
  std::int64_t cached_bytes_ = 0;
  std::future<Prepared> pending_;  // last: its destructor waits for the thread that uses the others
};

}  // namespace ov
