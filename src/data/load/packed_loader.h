// From a pack index to the batches of optimiser steps: one pack is one micro-batch, and the slots of data/load/slots.h
// are packs. A sample that turns out to be broken when its pictures are decoded has no tokens and leaves its pack
// shorter; the other packs stay where they are.
//
// As in data/load/loader.h the next step is prepared ahead, and samples are kept decoded while they fit into
// cache_bytes; neither shows.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/load/step_loader.h"
#include "data/pack/index.h"
#include "data/reject.h"

namespace ov {

struct PackedLoaderOptions {
  std::string index;                // what pack_data wrote
  std::vector<PackSource> sources;  // where the data lies now; none: where it lay when it was packed
  PixelLimits limits;               // in place of the processor's; the same as for packing
  std::int64_t packs_per_step = 1;
  std::int64_t seed = 1234;
  std::int64_t max_rejects = 100;  // different samples; one more is an error
  std::string rejects_path;        // JSON lines {"epoch", "record", "reason", "message"}; "": not written
  std::int64_t cache_bytes = std::int64_t{512} << 20;
  bool prefetch = true;
};

// The state's `data` is the index's checksum. next() and micro_batch() also throw input_error when a sample's length is
// not the index's, since its picture was exchanged; machine_error when a file cannot be read.
class PackedLoader : public StepLoader {
 public:
  // Throws input_error: the index (data/pack/index.h), a source, an option out of range; and when tokenizer, pixel
  // limits or data are not those that were packed.
  PackedLoader(const PackedLoaderOptions& options, const Processor& processor);
  ~PackedLoader() override { stop(); }

  const PackIndex& index() const { return index_; }
  const Processor& processor() const { return processor_; }  // with `limits` applied
  MicroBatchPlan plan(std::int64_t step, std::int64_t m) const override;

 private:
  PackedLoader(const PackedLoaderOptions& options, const Processor& processor, PackIndex index);
  void load(const Slot& slot, std::vector<Sample>& samples, std::vector<Fault>& faults) const override;
  std::int64_t capacity() const override { return index_.capacity; }
  Sample read(std::int64_t i) const;

  const std::string path_;
  const Processor processor_;
  const PackIndex index_;
  const Sources sources_;
  mutable RecordCache<Sample> cache_;
};

}  // namespace ov
