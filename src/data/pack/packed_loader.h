// From a pack index to the batches of optimiser steps: one pack is one micro-batch.
//
//   epoch e, position p   ->   pack Permutation(packs, seed, e)(p)
//
// Epochs follow one another without a seam. A sample that turns out to be broken when its pictures are decoded is
// counted and leaves its pack shorter; a pack of which nothing is left gives its place to the next.
//
// As in data/loader.h the next step is prepared by a background thread, and samples are kept decoded while they fit
// into cache_bytes; neither shows.
#pragma once
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/pack/index.h"
#include "data/reject.h"
#include "data/source.h"
#include "store/jsonl.h"

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

class PackedLoader : public StepSource {
 public:
  // Throws input_error: the index (data/pack/index.h), a source, an option out of range; and when tokenizer, pixel
  // limits or data are not those that were packed.
  PackedLoader(PackedLoaderOptions options, const Processor& processor);
  PackedLoader(const PackedLoader&) = delete;

  // Throws input_error when more than max_rejects samples of an epoch are rejected, or all of them; when a sample's
  // length is not the index's, since its picture was exchanged; machine_error when a file cannot be read. After an
  // error every call throws it again.
  GlobalStep next() override;

  const PackedState& position() const { return state_; }  // after the last step delivered
  Json state() const override { return state_.json(); }
  // Goes on exactly as the loader whose state this was; lines that were written to rejects_path after it are dropped.
  // Throws input_error when the state belongs to another index or seed.
  void restore(const PackedState& state);
  void restore(const Json& state) override { restore(PackedState::from_json(state, "loader state")); }

  const PackIndex& index() const { return index_; }
  const RejectCounts& rejects() const { return state_.rejects; }
  const Processor& processor() const { return processor_; }  // with `limits` applied

 private:
  struct Prepared {
    GlobalStep step;
    PackedState state;  // behind the step
    std::vector<Json> rejects;
    std::exception_ptr error;
  };
  Prepared prepare(PackedState state);
  void fill(GlobalStep& step, PackedState& state, std::vector<Json>& rejects);
  std::vector<Sample> take(PackedState& state, std::vector<Json>& rejects);
  std::shared_ptr<const Sample> sample(std::int64_t i);
  void count_reject(PackedState& state, std::vector<Json>& rejects, std::int64_t i, const Rejected& rejected);
  void start();
  void write(const std::vector<Json>& rejects);

  const PackedLoaderOptions options_;
  const Processor processor_;
  const PackIndex index_;
  const Sources sources_;
  PackedState state_;
  std::optional<JsonlWriter> rejects_;
  std::exception_ptr failed_;
  // Only prepare() uses the cache, and one call of it ends before the next begins. A full cache keeps what it has.
  std::unordered_map<std::int64_t, std::shared_ptr<const Sample>> cache_;
  std::int64_t cached_bytes_ = 0;
  std::future<Prepared> pending_;  // last: its destructor waits for the thread that uses the others
};

}  // namespace ov
