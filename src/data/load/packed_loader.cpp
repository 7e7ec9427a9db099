#include "data/load/packed_loader.h"

#include <utility>

#include "base/error.h"

namespace ov {
namespace {

// Paths of an index may be relative, so what cannot be opened is told with the index that names it.
Sources open_sources(const PackedLoaderOptions& options, const PackIndex& index) {
  if (!options.sources.empty()) return Sources(options.sources);
  try {
    return Sources(index.sources);
  } catch (const Error& e) {
    throw Error(e.exit(), cat(options.index, ": names the source or manifest ", e.what(),
                              "; relative paths start where pack was run"));
  }
}

}  // namespace

PackedLoader::PackedLoader(const PackedLoaderOptions& options, const Processor& processor)
    : PackedLoader(options, processor, PackIndex::read(options.index)) {}

PackedLoader::PackedLoader(const PackedLoaderOptions& options, const Processor& processor, PackIndex index)
    : StepLoader({index.packs.size(), options.seed, 1, options.packs_per_step}, index.checksum(), options.index,
                 index.samples(), "samples", {options.max_rejects, options.rejects_path}, options.prefetch),
      path_(options.index),
      processor_(processor.with_limits(options.limits)),
      index_(std::move(index)),
      sources_(open_sources(options, index_)),
      cache_(options.cache_bytes) {
  if (length_fingerprint(processor_) != index_.processor)
    input_error(path_, ": was packed with another tokenizer or other pixel limits (now ",
                processor_.images().min_pixels, " to ", processor_.images().max_pixels, "): pack again");
  if (sources_.fingerprint() != index_.data)
    input_error(path_, ": the data is not what was packed (", sources_.set(0).path(),
                sources_.count() > 1 ? " and others" : "", "): pack again");
  if (index_.record.back() >= sources_.size())
    input_error(path_, ": names record ", index_.record.back() + 1, " of ", sources_.size());
}

Sample PackedLoader::read(std::int64_t i) const {
  const Conversation c = sources_.read(index_.record[static_cast<std::size_t>(i)]);
  Sample s = make_sample(c, processor_, index_.sample_options());
  if (const auto tokens = static_cast<std::int64_t>(s.ids.size()); tokens != index_.tokens[static_cast<std::size_t>(i)])
    input_error(c.where, ": has ", tokens, " tokens, but ", path_, " was made for ",
                index_.tokens[static_cast<std::size_t>(i)],
                "; its pictures are not those that were packed: pack again");
  return s;
}

MicroBatchPlan PackedLoader::plan(std::int64_t step, std::int64_t m) const {
  MicroBatchPlan plan{.slots = order_.slots(step, m)};
  for (const std::int64_t i : index_.packs[plan.slots[0].record]) {
    ++plan.samples;
    plan.tokens += index_.tokens[static_cast<std::size_t>(i)];
    plan.labels += index_.labels[static_cast<std::size_t>(i)];
  }
  return plan;
}

void PackedLoader::load(const Slot& slot, std::vector<Sample>& samples, std::vector<Fault>& faults) const {
  for (const std::int64_t i : index_.packs[slot.record]) {
    Sample sample;
    try {
      sample = *cache_.get(i, [&] { return read(i); });
    } catch (const Rejected& r) {
      faults.push_back({{slot.epoch, index_.record[static_cast<std::size_t>(i)]}, r.reason(), r.what()});
    }
    samples.push_back(std::move(sample));
  }
}

}  // namespace ov
