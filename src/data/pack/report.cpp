#include "data/pack/report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace ov {
namespace {

// least, mean, largest, standard deviation, and how many packs fall into each of at most 32 bins of equal width: bin k
// counts values from first + k · width on.
Json distribution(const std::vector<std::int64_t>& values) {
  const auto [least, largest] = std::minmax_element(values.begin(), values.end());
  const std::int64_t sum = std::accumulate(values.begin(), values.end(), std::int64_t{0});
  const double mean = static_cast<double>(sum) / static_cast<double>(values.size());
  double squares = 0;
  for (const std::int64_t v : values) squares += (static_cast<double>(v) - mean) * (static_cast<double>(v) - mean);
  const std::int64_t width = (*largest - *least) / 32 + 1;
  std::vector<std::int64_t> bins(static_cast<std::size_t>((*largest - *least) / width) + 1);
  for (const std::int64_t v : values) ++bins[static_cast<std::size_t>((v - *least) / width)];
  return Json::object({{"least", *least},
                       {"mean", mean},
                       {"deviation", std::sqrt(squares / static_cast<double>(values.size()))},
                       {"largest", *largest},
                       {"histogram", Json::object({{"first", *least}, {"width", width}, {"packs", bins}})}});
}

std::int64_t total(const Column<std::int32_t>& column) {
  return std::accumulate(column.begin(), column.end(), std::int64_t{0});
}

}  // namespace

PackReport report_of(const PackIndex& index, const Sources& sources, const std::vector<RejectCounts>& rejects,
                     const RejectCounts& all_rejects) {
  PackReport r;
  r.records = sources.size();
  r.samples = index.samples();
  r.packs = index.packs.size();
  r.fewest_packs = fewest_packs(index.tokens, index.capacity);
  r.tokens = total(index.tokens);
  r.labelled_tokens = total(index.labels);
  r.patches = total(index.patches);
  r.rejects = all_rejects;
  r.fill = static_cast<double>(r.tokens) / (static_cast<double>(r.packs) * static_cast<double>(index.capacity));

  std::vector<std::int64_t> samples, tokens, labels, patches, images;
  std::int64_t with_images = 0, several_turns = 0;
  for (const std::int32_t n : index.images) with_images += n > 0;
  for (const std::int32_t n : index.turns) several_turns += n > 2;
  for (std::int64_t p = 0; p < index.packs.size(); ++p) {
    const auto items = index.packs[p];
    const auto sum = [&](const Column<std::int32_t>& column) {
      std::int64_t s = 0;
      for (const std::int64_t i : items) s += column[static_cast<std::size_t>(i)];
      return s;
    };
    samples.push_back(static_cast<std::int64_t>(items.size()));
    tokens.push_back(sum(index.tokens));
    labels.push_back(sum(index.labels));
    patches.push_back(sum(index.patches));
    images.push_back(sum(index.images));
  }

  std::vector<std::int64_t> packed(sources.count());
  for (const std::int64_t record : index.record) ++packed[sources.set_of(record)];
  Json sets = Json::array();
  for (std::size_t i = 0; i < sources.count(); ++i)
    sets.push(Json::object({{"path", sources.set(i).path()},
                            {"records", sources.set(i).size()},
                            {"samples", packed[i]},
                            {"rejects", rejects[i].json()}}));
  r.json = Json::object({{"records", r.records},
                         {"samples", r.samples},
                         {"rejects", r.rejects.json()},
                         {"capacity", index.capacity},
                         {"max_patches", index.max_patches},
                         {"seed", index.seed},
                         {"packs", r.packs},
                         {"fewest_packs", r.fewest_packs},
                         {"fill", r.fill},
                         {"tokens", r.tokens},
                         {"labelled_tokens", r.labelled_tokens},
                         {"patches", r.patches},
                         {"with_images", with_images},
                         {"several_turns", several_turns},
                         {"samples_per_pack", distribution(samples)},
                         {"tokens_per_pack", distribution(tokens)},
                         {"labelled_tokens_per_pack", distribution(labels)},
                         {"patches_per_pack", distribution(patches)},
                         {"images_per_pack", distribution(images)},
                         {"sources", sets}});
  return r;
}

}  // namespace ov
