#include "data/raw/blended_records.h"

#include <algorithm>

#include "base/error.h"
#include "base/sha256.h"
#include "store/energon_blend.h"

namespace ov {

BlendedRecords::BlendedRecords(const std::string& path, const std::string& image_dir, UseIndex use) : path_(path) {
  const EnergonBlend blend = read_energon_blend(path);
  std::vector<std::int64_t> sizes;
  std::vector<double> shares;
  for (const EnergonSet& set : blend.sets) {
    sets_.push_back(open_records(set.path, image_dir, set.split, use));
    sizes.push_back(sets_.back()->size()), shares.push_back(set.share);
    first_.push_back(first_.back() + sizes.back());
  }
  mixture_ = std::make_shared<const Mixture>(blend.epochized ? Mixture::by_repetitions(sizes, shares)
                                                             : Mixture::by_weight(sizes, shares));
}

Conversation BlendedRecords::read(std::int64_t index) const {
  if (index < 0 || index >= size()) input_error(path_, ": record ", index, " of ", size());
  const auto set = static_cast<std::size_t>(std::upper_bound(first_.begin(), first_.end(), index) - first_.begin()) - 1;
  return sets_[set]->read(index - first_[set]);
}

void BlendedRecords::write_index() const {
  for (const auto& set : sets_)
    if (!set->indexed()) set->write_index();
}

bool BlendedRecords::indexed() const {
  return std::all_of(sets_.begin(), sets_.end(), [](const auto& set) { return set->indexed(); });
}

std::string BlendedRecords::fingerprint() const {
  std::string all;
  for (std::size_t i = 0; i < sets_.size(); ++i)
    all += cat(sets_[i]->size(), " ", mixture_->draws(i), " ", sets_[i]->fingerprint(), "\n");
  return sha256(all);
}

std::int64_t BlendedRecords::written() const {
  std::int64_t last = 0;
  for (const auto& set : sets_) last = std::max(last, set->written());
  return last;
}

}  // namespace ov
