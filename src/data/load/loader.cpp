#include "data/load/loader.h"

#include <utility>

#include "base/error.h"
#include "data/raw/records.h"

namespace ov {
namespace {

class Conversations : public SampleSource {
 public:
  Conversations(const LoaderOptions& options, const Processor& processor)
      : processor_(processor.with_limits(options.limits)),
        options_(options.sample),
        records_(open_records(options.json, options.image_dir)) {}
  const std::string& path() const override { return records_->path(); }
  std::int64_t size() const override { return records_->size(); }
  Sample sample(std::int64_t index) const override { return make_sample(records_->read(index), processor_, options_); }

 private:
  const Processor processor_;
  const SampleOptions options_;
  const std::unique_ptr<const Records> records_;
};

}  // namespace

Loader::Loader(LoaderOptions options, const Processor& processor)
    : Loader(options, processor, std::make_unique<Conversations>(options, processor)) {}

Loader::Loader(LoaderOptions options, const Processor& processor, std::unique_ptr<const SampleSource> source)
    : StepStream({options.max_rejects, options.rejects_path, options.prefetch}),
      options_(std::move(options)),
      processor_(processor.with_limits(options_.limits)),
      source_(std::move(source)),
      cache_(options_.cache_bytes) {
  require_at_least(options_.samples_per_micro_batch, 1, "train.micro_batch_samples");
  require_at_least(options_.micro_batches_per_step, 1, "train.micro_batches");
  require_at_least(options_.sample.max_tokens, 1, "train.max_tokens");
  require_at_least(options_.max_rejects, 0, "data.max_rejects");
  require_at_least(options_.seed, 0, "data.seed");
  state_.seed = options_.seed;
  state_.records = source_->size();
}

// The sample at the cursor, which moves on; null when its record is rejected.
std::shared_ptr<const Sample> Loader::take(LoaderState& s, std::vector<Json>& rejects) {
  const std::int64_t index =
      Permutation(s.records, static_cast<std::uint64_t>(s.seed), static_cast<std::uint64_t>(s.epoch))(s.position);
  std::shared_ptr<const Sample> sample;
  try {
    sample = cache_.get(index, [&] { return source_->sample(index); });
  } catch (const Rejected& r) { count_reject(s, rejects, r, index, s.records, source_->path(), "records"); }
  advance(s, s.records);
  return sample;
}

void Loader::prepare(GlobalStep& step, LoaderState& s, std::vector<Json>& rejects) {
  for (std::int64_t m = 0; m < options_.micro_batches_per_step; ++m) {
    std::vector<Sample> samples;
    while (static_cast<std::int64_t>(samples.size()) < options_.samples_per_micro_batch)
      if (const auto sample = take(s, rejects)) samples.push_back(*sample);
    add(step, packed_micro_batch(samples));
  }
}

void Loader::check(const LoaderState& state) const {
  if (state.records != source_->size())
    input_error(source_->path(), ": holds ", source_->size(), " records, but the loader's state to go on from is of ",
                state.records);
  if (state.seed != options_.seed)
    input_error("data.seed is ", options_.seed, ", but the loader's state to go on from has seed ", state.seed);
  if (state.position < 0 || state.position >= state.records || state.epoch < 0)
    input_error(source_->path(), ": the loader's state is at epoch ", state.epoch, ", position ", state.position,
                " of ", state.records);
}

}  // namespace ov
