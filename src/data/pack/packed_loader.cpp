#include "data/pack/packed_loader.h"

#include <utility>

#include "base/error.h"
#include "base/rng.h"

namespace ov {
namespace {

void at_least(std::int64_t value, std::int64_t least, const char* name) {
  if (value < least) input_error(name, ": expected at least ", least, ", found ", value);
}

}  // namespace

PackedLoader::PackedLoader(PackedLoaderOptions options, const Processor& processor)
    : options_(std::move(options)),
      processor_(processor.with_limits(options_.limits)),
      index_(PackIndex::read(options_.index)),
      sources_(options_.sources.empty() ? index_.sources : options_.sources) {
  at_least(options_.packs_per_step, 1, "train.micro_batches");
  at_least(options_.max_rejects, 0, "data.max_rejects");
  at_least(options_.seed, 0, "data.seed");
  if (length_fingerprint(processor_) != index_.processor)
    input_error(options_.index, ": was packed with another tokenizer or other pixel limits (now ",
                processor_.images().min_pixels, " to ", processor_.images().max_pixels, "): pack again");
  if (sources_.fingerprint() != index_.data)
    input_error(options_.index, ": the data is not what was packed (", sources_.set(0).path(),
                sources_.count() > 1 ? " and others" : "", "): pack again");
  if (index_.record.back() >= sources_.size())
    input_error(options_.index, ": names record ", index_.record.back() + 1, " of ", sources_.size());
  state_.index = index_.checksum();
  state_.seed = options_.seed;
}

std::shared_ptr<const Sample> PackedLoader::sample(std::int64_t i) {
  if (const auto found = cache_.find(i); found != cache_.end()) return found->second;
  const Conversation c = sources_.read(index_.record[static_cast<std::size_t>(i)]);
  const auto s = std::make_shared<Sample>(make_sample(c, processor_, index_.sample_options()));
  if (const auto tokens = static_cast<std::int64_t>(s->ids.size());
      tokens != index_.tokens[static_cast<std::size_t>(i)])
    input_error(c.where, ": has ", tokens, " tokens, but ", options_.index, " was made for ",
                index_.tokens[static_cast<std::size_t>(i)],
                "; its pictures are not those that were packed: pack again");
  if (cached_bytes_ + s->bytes() <= options_.cache_bytes) {
    cached_bytes_ += s->bytes();
    cache_.emplace(i, s);
  }
  return s;
}

void PackedLoader::count_reject(PackedState& s, std::vector<Json>& rejects, std::int64_t i, const Rejected& r) {
  s.rejects.add(r.reason());
  s.epoch_rejects.add(r.reason());
  rejects.push_back(Json::object({{"epoch", s.epoch},
                                  {"record", index_.record[static_cast<std::size_t>(i)] + 1},
                                  {"reason", name_of(r.reason())},
                                  {"message", r.what()}}));
  const std::int64_t n = s.epoch_rejects.total();
  if (n > options_.max_rejects || n == index_.samples())
    input_error(options_.index, ": ", n, " of ", index_.samples(), " samples rejected",
                n > options_.max_rejects ? cat(", more than data.max_rejects ", options_.max_rejects)
                                         : std::string(", so none is left to learn from"),
                " (", s.epoch_rejects.str(), "); the last: ", r.what());
}

// What is good of the pack at the cursor, which moves on.
std::vector<Sample> PackedLoader::take(PackedState& s, std::vector<Json>& rejects) {
  const Permutation order(index_.packs.size(), static_cast<std::uint64_t>(s.seed), static_cast<std::uint64_t>(s.epoch));
  std::vector<Sample> samples;
  for (const std::int64_t i : index_.packs[order(s.position)]) {
    try {
      samples.push_back(*sample(i));
    } catch (const Rejected& r) { count_reject(s, rejects, i, r); }
  }
  if (++s.position == index_.packs.size()) {
    s.position = 0;
    ++s.epoch;
    s.epoch_rejects = {};
  }
  return samples;
}

void PackedLoader::fill(GlobalStep& step, PackedState& s, std::vector<Json>& rejects) {
  while (static_cast<std::int64_t>(step.micro_batches.size()) < options_.packs_per_step) {
    const std::vector<Sample> samples = take(s, rejects);
    if (samples.empty()) continue;
    step.micro_batches.push_back(packed_micro_batch(samples));
    const MicroBatch& b = step.micro_batches.back();
    step.samples += b.samples;
    step.tokens += b.tokens();
    step.labelled_tokens += count_labels(b);
    step.patches += b.pixel_values ? b.pixel_values.dim(0) : 0;
  }
  s.packs += options_.packs_per_step;
  s.samples += step.samples;
  s.tokens += step.tokens;
  s.labelled_tokens += step.labelled_tokens;
  s.padding += options_.packs_per_step * index_.capacity - step.tokens;
}

PackedLoader::Prepared PackedLoader::prepare(PackedState state) {
  Prepared p;
  p.state = std::move(state);
  try {
    fill(p.step, p.state, p.rejects);
  } catch (...) { p.error = std::current_exception(); }
  return p;
}

void PackedLoader::start() {
  pending_ = std::async(options_.prefetch ? std::launch::async : std::launch::deferred,
                        [this, state = state_] { return prepare(state); });
}

GlobalStep PackedLoader::next() {
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

void PackedLoader::restore(const PackedState& state) {
  if (state.index != state_.index)
    input_error(options_.index, ": has checksum ", state_.index, ", but the loader's state to go on from is of ",
                state.index, ": another packing");
  if (state.seed != options_.seed)
    input_error("data.seed is ", options_.seed, ", but the loader's state to go on from has seed ", state.seed);
  if (state.position < 0 || state.position >= index_.packs.size() || state.epoch < 0)
    input_error(options_.index, ": the loader's state is at epoch ", state.epoch, ", position ", state.position, " of ",
                index_.packs.size());
  if (pending_.valid()) {
    if (options_.prefetch) pending_.wait();
    pending_ = {};
  }
  failed_ = nullptr;
  rejects_.reset();
  state_ = state;
}

// Each reject so far has one line, so the file is cut behind the lines that state_ has counted before it grows.
void PackedLoader::write(const std::vector<Json>& rejects) {
  if (options_.rejects_path.empty()) return;
  if (!rejects_) {
    std::int64_t kept = 0;
    rejects_.emplace(
        JsonlWriter::resume(options_.rejects_path, [&](const Json&) { return kept++ < state_.rejects.total(); }));
  }
  for (const Json& line : rejects) rejects_->write(line);
}

}  // namespace ov
