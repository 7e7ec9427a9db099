#include "data/load/step_loader.h"

#include <utility>

#include "base/serial.h"

namespace ov {

StepLoader::StepLoader(SlotOrder order, const std::string& data, std::string path, std::int64_t samples,
                       const char* what, RejectOptions rejects, bool prefetch)
    : order_(order),
      path_(std::move(path)),
      samples_(samples),
      prefetch_(prefetch),
      state_(first_state(order_, data)),
      rejects_(std::move(rejects), path_, what) {}

LoadedMicroBatch StepLoader::micro_batch(std::int64_t step, std::int64_t m) const {
  LoadedMicroBatch out;
  std::vector<Sample> samples;
  for (const Slot& slot : order_.slots(step, m)) load(slot, samples, out.faults);
  out.batch = packed_micro_batch(samples);
  return out;
}

GlobalStep StepLoader::next() {
  if (failed_) std::rethrow_exception(failed_);
  if (!pending_.valid()) start();
  try {
    GlobalStep step = deliver(pending_.get());
    start();
    return step;
  } catch (...) {
    failed_ = std::current_exception();
    throw;
  }
}

GlobalStep StepLoader::deliver(Prepared prepared) {
  LoaderState s = state_;
  for (const LoadedMicroBatch& m : prepared.micro_batches) {
    rejects_.add(m.faults, samples_, s);
    s.empty += static_cast<std::int64_t>(m.faults.size());
  }
  if (prepared.error) std::rethrow_exception(prepared.error);
  GlobalStep step;
  for (LoadedMicroBatch& m : prepared.micro_batches) {
    step.samples += m.batch.samples;
    step.tokens += m.batch.tokens();
    step.labelled_tokens += count_labels(m.batch);
    step.patches += m.batch.pixel_values ? m.batch.pixel_values.dim(0) : 0;
    if (capacity() > 0) s.padding += capacity() - m.batch.tokens();
    step.micro_batches.push_back(std::move(m.batch));
  }
  s.samples += step.samples;
  s.tokens += step.tokens;
  s.labelled_tokens += step.labelled_tokens;
  ++s.step;
  state_ = std::move(s);
  return step;
}

void StepLoader::restore(const LoaderState& state) {
  check_same_data(state_, state, path_);
  order_.slots(state.step, 0);  // throws beyond the last step there is
  stop();
  failed_ = nullptr;
  rejects_.restart();
  state_ = state;
}

void StepLoader::stop() {
  if (pending_.valid() && prefetch_) pending_.wait();
  pending_ = {};
}

void StepLoader::start() {
  pending_ = std::async(prefetch_ ? std::launch::async : std::launch::deferred, [this, step = state_.step] {
    const Aside beside_the_step;
    Prepared p;
    try {
      for (std::int64_t m = 0; m < order_.micro_batches(); ++m) p.micro_batches.push_back(micro_batch(step, m));
    } catch (...) { p.error = std::current_exception(); }
    return p;
  });
}

}  // namespace ov
