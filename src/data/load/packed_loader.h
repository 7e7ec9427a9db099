// From a pack index to the batches of optimiser steps: one pack is one micro-batch.
//
//   epoch e, position p   ->   pack Permutation(packs, seed, e)(p)
//
// Epochs follow one another without a seam. A sample that turns out to be broken when its pictures are decoded is
// counted and leaves its pack shorter; a pack of which nothing is left gives its place to the next.
//
// As in data/loader.h the next step is prepared ahead, and samples are kept decoded while they fit into cache_bytes;
// neither shows.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/load/step_stream.h"
#include "data/pack/index.h"
#include "data/reject.h"

namespace ov {

struct PackedLoaderOptions {
  std::string index;                // what pack_data wrote
  std::vector<PackSource> sources;  // where the data lies now; none: where it lay when it was packed
  PixelLimits limits;               // in place of the processor's; the same as for packing
  std::int64_t packs_per_step = 1;
  std::int64_t seed = 1234;
  std::int64_t max_rejects = 100;  // different samples of an epoch; one more is an error
  std::string rejects_path;        // JSON lines {"epoch", "record", "reason", "message"}; "": not written
  std::int64_t cache_bytes = std::int64_t{512} << 20;
  bool prefetch = true;
};

// Saved with every checkpoint; it does not depend on threads, prefetching or the number of packs in a step.
struct PackedState {
  std::string index;                                // its checksum
  std::int64_t seed = 0, epoch = 0, position = 0;   // the pack to read next
  std::int64_t packs = 0, samples = 0, tokens = 0;  // delivered, all epochs
  std::int64_t labelled_tokens = 0;                 // likewise
  std::int64_t padding = 0;    // tokens that the packs delivered were short of their capacity; not computed with
  RejectCounts rejects;        // all epochs: a broken sample counts again in each
  RejectCounts epoch_rejects;  // of this epoch
  bool operator==(const PackedState&) const = default;

  Json json() const;
  // Throws input_error that starts with `where` and names the key.
  static PackedState from_json(const Json& json, const std::string& where);
};

// next() also throws input_error when a sample's length is not the index's, since its picture was exchanged;
// machine_error when a file cannot be read.
class PackedLoader : public StepStream<PackedState> {
 public:
  // Throws input_error: the index (data/pack/index.h), a source, an option out of range; and when tokenizer, pixel
  // limits or data are not those that were packed.
  PackedLoader(PackedLoaderOptions options, const Processor& processor);
  ~PackedLoader() override { stop(); }

  const PackIndex& index() const { return index_; }
  const Processor& processor() const { return processor_; }  // with `limits` applied

 private:
  void prepare(GlobalStep& step, PackedState& state, std::vector<Json>& rejects) override;
  void check(const PackedState& state) const override;
  std::vector<Sample> take(PackedState& state, std::vector<Json>& rejects);
  Sample read(std::int64_t i) const;

  const PackedLoaderOptions options_;
  const Processor processor_;
  const PackIndex index_;
  const Sources sources_;
  SampleCache cache_;
};

}  // namespace ov
