// From a data set's records to the batches of optimiser steps, in an order that is a function of the seed alone
// (data/load/slots.h): a step is micro_batches_per_step packed rows of samples_per_micro_batch samples. A faulty record
// (data/reject.h) is a sample without tokens in its own slot.
//
// The next step is prepared ahead (data/load/step_loader.h), and samples are kept decoded while they fit into
// cache_bytes. Neither shows: order, batches, state and rejects are those of a loader without them.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "data/batch.h"
#include "data/load/step_loader.h"
#include "data/raw/conversations.h"
#include "data/sample/processor.h"
#include "data/sample/sample.h"

namespace ov {

struct LoaderOptions {
  std::string json;       // conversation file or webdataset: data/raw/records.h
  std::string image_dir;  // where relative image paths start; "": beside the file
  std::string manifest;   // those of its records that it draws (data/raw/drawn_records.h); "": all
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
  // 0 <= index < size(). Throws Rejected. Safe from several threads.
  virtual Sample sample(std::int64_t index) const = 0;
  virtual std::string fingerprint() const = 0;  // as data/raw/records.h
  virtual std::shared_ptr<const Mixture> mixture() const { return nullptr; }
};

// next() and micro_batch() throw machine_error when a file cannot be read.
class Loader : public StepLoader {
 public:
  // Conversations of the data set options.json. Throws input_error: the file (data/raw/conversations.h), a count below
  // 1, limits out of order.
  Loader(LoaderOptions options, const Processor& processor);
  // Records of another kind; options.json, image_dir, manifest and sample are not used.
  Loader(LoaderOptions options, const Processor& processor, std::unique_ptr<const SampleSource> source);
  ~Loader() override { stop(); }

  std::int64_t records() const { return source_->size(); }
  const Processor& processor() const { return processor_; }  // with `limits` applied
  MicroBatchPlan plan(std::int64_t step, std::int64_t m) const override;

 private:
  void load(const Slot& slot, std::vector<Sample>& samples, std::vector<Fault>& faults) const override;

  const Processor processor_;
  const std::unique_ptr<const SampleSource> source_;
  mutable RecordCache<Sample> cache_;
};

}  // namespace ov
