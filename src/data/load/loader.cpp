#include "data/load/loader.h"

#include <utility>

#include "base/error.h"
#include "data/raw/drawn_records.h"

namespace ov {
namespace {

class Conversations : public SampleSource {
 public:
  Conversations(const LoaderOptions& options, const Processor& processor)
      : processor_(processor.with_limits(options.limits)),
        options_(options.sample),
        records_(drawn_records(open_records(options.json, options.image_dir), options.manifest)) {
    require_at_least(options_.max_tokens, 1, "train.max_tokens");
  }
  const std::string& path() const override { return records_->path(); }
  std::int64_t size() const override { return records_->size(); }
  Sample sample(std::int64_t index) const override { return make_sample(records_->read(index), processor_, options_); }
  std::string fingerprint() const override { return records_->fingerprint(); }
  std::shared_ptr<const Mixture> mixture() const override { return records_->mixture(); }

 private:
  const Processor processor_;
  const SampleOptions options_;
  const std::unique_ptr<const Records> records_;
};

}  // namespace

Loader::Loader(LoaderOptions options, const Processor& processor)
    : Loader(options, processor, std::make_unique<Conversations>(options, processor)) {}

Loader::Loader(LoaderOptions options, const Processor& processor, std::unique_ptr<const SampleSource> source)
    : StepLoader({source->size(), options.seed, options.samples_per_micro_batch, options.micro_batches_per_step,
                  source->mixture()},
                 source->fingerprint(), source->path(), source->size(), "records",
                 {options.max_rejects, options.rejects_path}, options.prefetch),
      processor_(processor.with_limits(options.limits)),
      source_(std::move(source)),
      cache_(options.cache_bytes) {}

MicroBatchPlan Loader::plan(std::int64_t step, std::int64_t m) const {
  return {.slots = order_.slots(step, m), .samples = order_.per_micro_batch()};
}

void Loader::load(const Slot& slot, std::vector<Sample>& samples, std::vector<Fault>& faults) const {
  Sample sample;
  try {
    sample = *cache_.get(slot.record, [&] { return source_->sample(slot.record); });
  } catch (const Rejected& r) { faults.push_back({slot, r.reason(), r.what()}); }
  samples.push_back(std::move(sample));
}

}  // namespace ov
