// What the loaders of conversations and of packs have in common: the next step is prepared by a background thread while
// the caller works on this one, a state behind every step can be gone on from, and whatever is rejected is counted, has
// one line in a file and is too much beyond a limit. Preparing ahead does not show: steps, state and rejects are
// those of a loader without it.
#pragma once
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "data/reject.h"
#include "data/sample/sample.h"
#include "data/source.h"
#include "store/jsonl.h"

namespace ov {

// Samples that are kept decoded while they fit. A full cache keeps what it has: every sample comes once an epoch, so
// whatever is thrown out for another would be missed as much. For one thread at a time.
class SampleCache {
 public:
  explicit SampleCache(std::int64_t bytes) : room_(bytes) {}

  template <class Make>  // () -> Sample; called when sample `index` is not here
  std::shared_ptr<const Sample> get(std::int64_t index, Make&& make) {
    if (const auto found = kept_.find(index); found != kept_.end()) return found->second;
    const auto sample = std::make_shared<const Sample>(make());
    if (sample->bytes() <= room_) {
      room_ -= sample->bytes();
      kept_.emplace(index, sample);
    }
    return sample;
  }

 private:
  std::unordered_map<std::int64_t, std::shared_ptr<const Sample>> kept_;
  std::int64_t room_;
};

struct StreamOptions {
  std::int64_t max_rejects = 100;  // of an epoch; one more is an error
  std::string rejects_path;        // JSON lines {"epoch", "record", "reason", "message"}; "": not written
  bool prefetch = true;
};

// State: {epoch, position, samples, tokens, labelled_tokens, rejects, epoch_rejects, json(), from_json()}.
template <class State>
class StepStream : public StepSource {
 public:
  StepStream(const StepStream&) = delete;

  // Throws input_error when more than max_rejects samples of an epoch are rejected, or all of them; what prepare()
  // throws. After an error every call throws it again.
  GlobalStep next() override {
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
    state_ = std::move(p.state);
    start();
    return std::move(p.step);
  }

  // After the last step delivered, whatever is prepared already.
  const State& position() const { return state_; }
  Json state() const override { return state_.json(); }
  const RejectCounts& rejects() const { return state_.rejects; }

  // Goes on exactly as the stream whose state this was; lines that were written to rejects_path after it are dropped.
  // Throws input_error when the state belongs to other data or another seed.
  void restore(const State& state) {
    check(state);
    stop();
    failed_ = nullptr;
    rejects_.reset();
    state_ = state;
  }
  void restore(const Json& state) override { restore(State::from_json(state, "loader state")); }

 protected:
  explicit StepStream(StreamOptions options) : options_(std::move(options)) {}

  // The step behind `state`, which moves on; called by one thread at a time, never while restore() runs.
  virtual void prepare(GlobalStep& step, State& state, std::vector<Json>& rejects) = 0;
  virtual void check(const State& state) const = 0;
  // Waits for the background thread. A derived class calls it in its destructor: the thread uses its members.
  void stop() {
    if (pending_.valid() && options_.prefetch) pending_.wait();
    pending_ = {};
  }

  void add(GlobalStep& step, MicroBatch batch) const {
    step.samples += batch.samples;
    step.tokens += batch.tokens();
    step.labelled_tokens += count_labels(batch);
    step.patches += batch.pixel_values ? batch.pixel_values.dim(0) : 0;
    step.micro_batches.push_back(std::move(batch));
  }

  // `where`: the data, with `samples` samples of which `record` (from 0) is the one rejected.
  void count_reject(State& s, std::vector<Json>& lines, const Rejected& r, std::int64_t record, std::int64_t samples,
                    const std::string& where, const char* what) const {
    s.rejects.add(r.reason());
    s.epoch_rejects.add(r.reason());
    lines.push_back(Json::object(
        {{"epoch", s.epoch}, {"record", record + 1}, {"reason", name_of(r.reason())}, {"message", r.what()}}));
    const std::int64_t n = s.epoch_rejects.total();
    if (n > options_.max_rejects || n == samples)
      input_error(where, ": ", n, " of ", samples, " ", what, " rejected",
                  n > options_.max_rejects ? cat(", more than data.max_rejects ", options_.max_rejects)
                                           : std::string(", so none is left to learn from"),
                  " (", s.epoch_rejects.str(), "); the last: ", r.what());
  }

  // One place further in an epoch of n.
  static void advance(State& s, std::int64_t n) {
    if (++s.position < n) return;
    s.position = 0;
    ++s.epoch;
    s.epoch_rejects = {};
  }

  State state_;

 private:
  struct Prepared {
    GlobalStep step;
    State state;  // behind the step
    std::vector<Json> rejects;
    std::exception_ptr error;
  };

  void start() {
    pending_ = std::async(options_.prefetch ? std::launch::async : std::launch::deferred, [this, state = state_] {
      Prepared p{.step = {}, .state = state, .rejects = {}, .error = nullptr};
      try {
        prepare(p.step, p.state, p.rejects);
        p.state.samples += p.step.samples;
        p.state.tokens += p.step.tokens;
        p.state.labelled_tokens += p.step.labelled_tokens;
      } catch (...) { p.error = std::current_exception(); }
      return p;
    });
  }

  // Each reject so far has one line, so the file is cut behind the lines that state_ has counted before it grows.
  void write(const std::vector<Json>& rejects) {
    if (options_.rejects_path.empty()) return;
    if (!rejects_) {
      std::int64_t kept = 0;
      rejects_.emplace(
          JsonlWriter::resume(options_.rejects_path, [&](const Json&) { return kept++ < state_.rejects.total(); }));
    }
    for (const Json& line : rejects) rejects_->write(line);
  }

  const StreamOptions options_;
  std::optional<JsonlWriter> rejects_;
  std::exception_ptr failed_;
  std::future<Prepared> pending_;
};

}  // namespace ov
