// From a file of annotated pictures to the batches of optimiser steps, in an order that depends on the seed alone
// (data/load/slots.h): a step is micro_batches_per_step batches of pictures_per_micro_batch pictures. A faulty picture
// leaves its slot empty: its batch has a picture less.
//
// Which regions of a picture are used, and which characters of a string, depends on (seed, step, slot of the step).
// Pictures are kept decoded while they fit into cache_bytes, which does not show.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/load/record_cache.h"
#include "data/load/reject_log.h"
#include "data/raw/regions.h"
#include "image/patches.h"

namespace ov {

struct RegionLoaderOptions {
  std::string regions;                    // the JSON-lines file
  std::string clusters = "";              // a manifest of `cluster` that says classes in place of names
  ProcessorConfig images;                 // size limits and normalisation
  std::int64_t regions_per_picture = 10;  // N; 0: all of them, each once (RICE, table 5: 10 is best)
  std::int64_t labels_per_text = 10;      // M; 0: all of them
  std::int64_t pictures_per_micro_batch = 2, micro_batches_per_step = 2;
  std::int64_t seed = 1;
  std::int64_t max_rejects = 0;  // different records; one more is an error
  std::string rejects_path;      // JSON lines {"epoch", "record", "reason", "message"}; "": not written
  std::int64_t cache_bytes = std::int64_t{512} << 20;
};

// Its `samples` are pictures; regions stand for labelled tokens.
using RegionLoaderState = LoaderState;

struct LoadedRegionBatch {
  RegionBatch batch;
  std::vector<Fault> faults;  // in the order of the slots
};

// Annotated pictures, a step at a time.
class RegionSource {
 public:
  virtual ~RegionSource() = default;
  virtual RegionStep next() = 0;
  virtual const RegionLoaderState& state() const = 0;
  virtual void restore(const RegionLoaderState& state) = 0;
  virtual std::string path() const = 0;
  virtual std::string labels() const = 0;  // a fingerprint of the names of classes and characters
};

class RegionLoader : public RegionSource {
 public:
  // Throws input_error: the file (data/raw/regions.h), a count out of range.
  explicit RegionLoader(RegionLoaderOptions options);

  MicroBatchPlan plan(std::int64_t step, std::int64_t m) const;
  // Micro-batch m of step `step`: a function of the arguments alone. Without any good picture it has no region and null
  // pixels. Safe from several threads.
  LoadedRegionBatch micro_batch(std::int64_t step, std::int64_t m) const;
  // Throws input_error when more than max_rejects records are rejected, or all of them.
  RegionStep next() override;

  const RegionFile& file() const { return file_; }
  std::string path() const override { return file_.path(); }
  std::string labels() const override;
  const RegionLoaderState& state() const override { return state_; }
  // Continues exactly as the loader whose state this was. Throws input_error when it belongs to other data, another
  // seed or other steps.
  void restore(const RegionLoaderState& state) override;

 private:
  struct Picture {
    const AnnotatedPicture* annotation;
    Image image;     // resized
    ImageSize size;  // as stored
    std::int64_t bytes() const { return static_cast<std::int64_t>(image.rgb.size()); }
  };
  struct Loaded {
    std::shared_ptr<const Picture> picture;  // null when rejected
    Patches patches;
    std::vector<Fault> faults;  // at most one
  };
  Picture read(std::int64_t record) const;
  std::vector<Loaded> load(std::span<const Slot> slots) const;
  LoadedRegionBatch batch_of(std::int64_t step, std::int64_t m, std::span<Loaded> pictures) const;

  const RegionLoaderOptions options_;
  const RegionFile file_;
  const SlotOrder order_;
  RegionLoaderState state_;
  RejectLog rejects_;
  mutable RecordCache<Picture> cache_;
};

}  // namespace ov
