#include "data/load/slots.h"

#include "base/error.h"
#include "base/rng.h"
#include "data/mixture.h"

namespace ov {
namespace {

constexpr std::int64_t most_of_a_step = std::int64_t{1} << 20, most_slots = std::int64_t{1} << 62;

}  // namespace

SlotOrder::SlotOrder(std::int64_t records, std::int64_t seed, std::int64_t per_micro_batch, std::int64_t micro_batches,
                     std::shared_ptr<const Mixture> mixture)
    : records_(records),
      seed_(seed),
      per_micro_batch_(per_micro_batch),
      micro_batches_(micro_batches),
      mixture_(std::move(mixture)) {
  require_at_least(records, 1, "records");
  require_at_least(seed, 0, "data.seed");
  require_at_least(per_micro_batch, 1, "train.micro_batch_samples");
  require_at_least(micro_batches, 1, "train.micro_batches");
  if (per_micro_batch > most_of_a_step / micro_batches)
    input_error("train.micro_batches ", micro_batches, " of ", per_micro_batch, ": expected at most ", most_of_a_step,
                " samples or packs in a step");
}

std::vector<Slot> SlotOrder::slots(std::int64_t step, std::int64_t m) const {
  if (step < 0 || step >= most_slots / per_step() || m < 0 || m >= micro_batches_)
    input_error("step ", step, ", micro-batch ", m, ": expected a step from 0 to ", most_slots / per_step() - 1,
                " and a micro-batch from 0 to ", micro_batches_ - 1);
  const std::int64_t first = (step * micro_batches_ + m) * per_micro_batch_;
  std::vector<Slot> out;
  for (std::int64_t s = first; s < first + per_micro_batch_; ++s) {
    if (mixture_) {
      out.push_back(mixture_->at(s, static_cast<std::uint64_t>(seed_)));
      continue;
    }
    const std::int64_t epoch = s / records_;
    const Permutation order(records_, static_cast<std::uint64_t>(seed_), static_cast<std::uint64_t>(epoch));
    out.push_back({epoch, order(s % records_)});
  }
  return out;
}

}  // namespace ov
