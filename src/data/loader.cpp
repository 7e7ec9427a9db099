#include "data/loader.h"

#include <utility>

#include "base/error.h"
#include "data/records.h"

namespace ov {
namespace {

void at_least(std::int64_t value, std::int64_t least, const char* name) {
  if (value < least) input_error(name, ": expected at least ", least, ", found ", value);
}

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
    : options_(std::move(options)), processor_(processor.with_limits(options_.limits)), source_(std::move(source)) {
  at_least(options_.samples_per_micro_batch, 1, "train.micro_batch_samples");
  at_least(options_.micro_batches_per_step, 1, "train.micro_batches");
  at_least(options_.sample.max_tokens, 1, "train.max_tokens");
  at_least(options_.max_rejects, 0, "data.max_rejects");
  at_least(options_.seed, 0, "data.seed");
  state_.seed = options_.seed;
  state_.records = source_->size();
}

// The sample at the cursor, which moves on; null when its record is rejected.
std::shared_ptr<const Sample> Loader::take(LoaderState& s, std::vector<Json>& rejects) {
  const std::int64_t index =
      Permutation(s.records, static_cast<std::uint64_t>(s.seed), static_cast<std::uint64_t>(s.epoch))(s.position);
  std::shared_ptr<const Sample> sample;
  if (const auto found = cache_.find(index); found != cache_.end()) {
    sample = found->second;
  } else {
    try {
      sample = std::make_shared<Sample>(source_->sample(index));
      if (cached_bytes_ + sample->bytes() <= options_.cache_bytes) {
        cached_bytes_ += sample->bytes();
        cache_.emplace(index, sample);
      }
    } catch (const Rejected& r) {
      s.rejects.add(r.reason());
      s.epoch_rejects.add(r.reason());
      rejects.push_back(Json::object(
          {{"epoch", s.epoch}, {"record", index + 1}, {"reason", name_of(r.reason())}, {"message", r.what()}}));
      const std::int64_t n = s.epoch_rejects.total();
      if (n > options_.max_rejects || n == s.records)
        input_error(source_->path(), ": ", n, " of ", s.records, " records rejected",
                    n > options_.max_rejects ? cat(", more than data.max_rejects ", options_.max_rejects)
                                             : std::string(", so none is left to learn from"),
                    " (", s.epoch_rejects.str(), "); the last: ", r.what());
    }
  }
  if (++s.position == s.records) {
    s.position = 0;
    ++s.epoch;
    s.epoch_rejects = {};
  }
  return sample;
}

void Loader::fill(GlobalStep& step, LoaderState& s, std::vector<Json>& rejects) {
  for (std::int64_t m = 0; m < options_.micro_batches_per_step; ++m) {
    std::vector<Sample> samples;
    while (static_cast<std::int64_t>(samples.size()) < options_.samples_per_micro_batch)
      if (const auto sample = take(s, rejects)) samples.push_back(*sample);
    step.micro_batches.push_back(packed_micro_batch(samples));
    const MicroBatch& b = step.micro_batches.back();
    step.samples += b.samples;
    step.tokens += b.tokens();
    step.labelled_tokens += count_labels(b);
    step.patches += b.pixel_values ? b.pixel_values.dim(0) : 0;
  }
  s.samples += step.samples;
  s.tokens += step.tokens;
  s.labelled_tokens += step.labelled_tokens;
}

Loader::Prepared Loader::prepare(LoaderState state) {
  Prepared p;
  p.state = state;
  try {
    fill(p.step, p.state, p.rejects);
  } catch (...) { p.error = std::current_exception(); }
  return p;
}

void Loader::start() {
  pending_ = std::async(options_.prefetch ? std::launch::async : std::launch::deferred,
                        [this, state = state_] { return prepare(state); });
}

GlobalStep Loader::next() {
  if (failed_) std::rethrow_exception(failed_);
  if (!pending_.valid()) start();
  Prepared p = pending_.get();
  try {
    write(p.rejects);
  } catch (...) {
    if (!p.error) p.error = std::current_exception();
  }
  if (p.error) {
    failed_ = p.error;
    std::rethrow_exception(failed_);
  }
  state_ = p.state;
  start();
  return std::move(p.step);
}

void Loader::restore(const LoaderState& state) {
  if (state.records != source_->size())
    input_error(source_->path(), ": holds ", source_->size(), " records, but the loader's state to go on from is of ",
                state.records);
  if (state.seed != options_.seed)
    input_error("data.seed is ", options_.seed, ", but the loader's state to go on from has seed ", state.seed);
  if (state.position < 0 || state.position >= state.records || state.epoch < 0)
    input_error(source_->path(), ": the loader's state is at epoch ", state.epoch, ", position ", state.position,
                " of ", state.records);
  if (pending_.valid()) {
    if (options_.prefetch) pending_.wait();
    pending_ = {};
  }
  failed_ = nullptr;
  rejects_.reset();
  state_ = state;
}

// Each reject so far has one line, so the file is cut behind the lines that state_ has counted before it grows.
void Loader::write(const std::vector<Json>& rejects) {
  if (options_.rejects_path.empty()) return;
  if (!rejects_) {
    std::int64_t kept = 0;
    rejects_.emplace(
        JsonlWriter::resume(options_.rejects_path, [&](const Json&) { return kept++ < state_.rejects.total(); }));
  }
  for (const Json& line : rejects) rejects_->write(line);
}

}  // namespace ov
