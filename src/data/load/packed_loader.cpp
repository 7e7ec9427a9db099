#include "data/load/packed_loader.h"

#include <utility>

#include "base/error.h"
#include "base/rng.h"

namespace ov {

PackedLoader::PackedLoader(PackedLoaderOptions options, const Processor& processor)
    : StepStream({options.max_rejects, options.rejects_path, options.prefetch}),
      options_(std::move(options)),
      processor_(processor.with_limits(options_.limits)),
      index_(PackIndex::read(options_.index)),
      sources_(options_.sources.empty() ? index_.sources : options_.sources),
      cache_(options_.cache_bytes) {
  require_at_least(options_.packs_per_step, 1, "train.micro_batches");
  require_at_least(options_.max_rejects, 0, "data.max_rejects");
  require_at_least(options_.seed, 0, "data.seed");
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

Sample PackedLoader::read(std::int64_t i) const {
  const Conversation c = sources_.read(index_.record[static_cast<std::size_t>(i)]);
  Sample s = make_sample(c, processor_, index_.sample_options());
  if (const auto tokens = static_cast<std::int64_t>(s.ids.size()); tokens != index_.tokens[static_cast<std::size_t>(i)])
    input_error(c.where, ": has ", tokens, " tokens, but ", options_.index, " was made for ",
                index_.tokens[static_cast<std::size_t>(i)],
                "; its pictures are not those that were packed: pack again");
  return s;
}

// What is good of the pack at the cursor, which moves on.
std::vector<Sample> PackedLoader::take(PackedState& s, std::vector<Json>& rejects) {
  const Permutation order(index_.packs.size(), static_cast<std::uint64_t>(s.seed), static_cast<std::uint64_t>(s.epoch));
  std::vector<Sample> samples;
  for (const std::int64_t i : index_.packs[order(s.position)]) {
    try {
      samples.push_back(*cache_.get(i, [&] { return read(i); }));
    } catch (const Rejected& r) {
      count_reject(s, rejects, r, index_.record[static_cast<std::size_t>(i)], index_.samples(), options_.index,
                   "samples");
    }
  }
  advance(s, index_.packs.size());
  return samples;
}

void PackedLoader::prepare(GlobalStep& step, PackedState& s, std::vector<Json>& rejects) {
  while (static_cast<std::int64_t>(step.micro_batches.size()) < options_.packs_per_step)
    if (const std::vector<Sample> samples = take(s, rejects); !samples.empty()) add(step, packed_micro_batch(samples));
  s.packs += options_.packs_per_step;
  s.padding += options_.packs_per_step * index_.capacity - step.tokens;
}

void PackedLoader::check(const PackedState& state) const {
  if (state.index != state_.index)
    input_error(options_.index, ": has checksum ", state_.index, ", but the loader's state to go on from is of ",
                state.index, ": another packing");
  if (state.seed != options_.seed)
    input_error("data.seed is ", options_.seed, ", but the loader's state to go on from has seed ", state.seed);
  if (state.position < 0 || state.position >= index_.packs.size() || state.epoch < 0)
    input_error(options_.index, ": the loader's state is at epoch ", state.epoch, ", position ", state.position, " of ",
                index_.packs.size());
}

}  // namespace ov
