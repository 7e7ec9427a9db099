// From a file of annotated pictures to the batches of optimiser steps, in an order that depends on the seed alone.
//
//   epoch e, position p   ->   record Permutation(n, seed, e)(p)
//
// A step is micro_batches_per_step batches of pictures_per_micro_batch pictures; a record that is rejected gives its
// place to the next. Which regions of a picture are used, and which characters of a string, depends on (seed, step,
// place in the step). Pictures are kept decoded while they fit into cache_bytes, which does not show.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "data/raw/regions.h"
#include "data/reject.h"
#include "image/patches.h"
#include "store/jsonl.h"

namespace ov {

struct RegionLoaderOptions {
  std::string regions;                    // the JSON-lines file
  ProcessorConfig images;                 // size limits and normalisation
  std::int64_t regions_per_picture = 10;  // N; 0: all of them, each once (RICE, table 5: 10 is best)
  std::int64_t labels_per_text = 10;      // M; 0: all of them
  std::int64_t pictures_per_micro_batch = 2, micro_batches_per_step = 2;
  std::int64_t seed = 1;
  std::int64_t max_rejects = 0;  // different records; one more is an error
  std::string rejects_path;      // JSON lines {"epoch", "record", "reason", "message"}; "": not written
  std::int64_t cache_bytes = std::int64_t{512} << 20;
};

// Where a loader stands. Saved with every checkpoint.
struct RegionLoaderState {
  std::int64_t seed = 0, records = 0;      // what the order was made from
  std::int64_t epoch = 0, position = 0;    // the record to read next
  std::int64_t step = 0;                   // steps delivered
  std::int64_t pictures = 0, regions = 0;  // delivered, all epochs
  RejectCounts rejects, epoch_rejects;
  bool operator==(const RegionLoaderState&) const = default;

  Json json() const;
  static RegionLoaderState from_json(const Json& json, const std::string& where);
};

class RegionLoader {
 public:
  // Throws input_error: the file (data/regions.h), a count out of range.
  explicit RegionLoader(RegionLoaderOptions options);

  // Throws input_error when more than max_rejects records of an epoch are rejected, or all of them.
  RegionStep next();

  const RegionFile& file() const { return file_; }
  const RegionLoaderState& state() const { return state_; }
  // Goes on exactly as the loader whose state this was. Throws input_error when it belongs to other data or another
  // seed.
  void restore(const RegionLoaderState& state);

 private:
  struct Loaded {
    const AnnotatedPicture* annotation = nullptr;  // null when rejected
    std::shared_ptr<const Image> image;            // resized
    ImageSize size;                                // as stored
    std::shared_ptr<const Rejected> rejected;
  };
  std::int64_t record_at(std::int64_t ahead) const;
  Loaded load(std::int64_t record) const;
  std::vector<Loaded> take(std::int64_t pictures);
  void count_reject(std::int64_t record, const Rejected& rejected);

  const RegionLoaderOptions options_;
  const RegionFile file_;
  RegionLoaderState state_;
  std::optional<JsonlWriter> rejects_;
  std::unordered_map<std::int64_t, Loaded> cache_;  // a full cache keeps what it has
  std::int64_t cached_bytes_ = 0;
};

}  // namespace ov
