#include "data/load/region_loader.h"

#include "base/hash.h"
#include "base/parallel.h"
#include "data/raw/picture_file.h"
#include "data/sample/processor.h"
#include "image/decode.h"
#include "image/smart_resize.h"

namespace ov {
namespace {

// Draws are numbered by slot, region and label with 20 bits each.
constexpr std::int64_t most_draws = (std::int64_t{1} << 20) - 1;

void require_draws(std::int64_t value, const char* key) {
  require_at_least(value, 0, key);
  if (value > most_draws) input_error(key, ": expected at most ", most_draws, ", found ", value);
}

}  // namespace

RegionLoader::RegionLoader(RegionLoaderOptions options)
    : options_(std::move(options)),
      file_(options_.regions, options_.clusters),
      order_(file_.size(), options_.seed, options_.pictures_per_micro_batch, options_.micro_batches_per_step),
      state_(first_state(order_, file_.fingerprint())),
      rejects_({options_.max_rejects, options_.rejects_path}, file_.path(), "pictures"),
      cache_(options_.cache_bytes) {
  require_draws(options_.regions_per_picture, "data.regions_per_picture");
  require_draws(options_.labels_per_text, "data.labels_per_text");
}

std::string RegionLoader::labels() const {
  std::uint64_t hash = fnv1a("regions");
  for (const auto* names : {&file_.classes(), &file_.characters()})
    for (const std::string& name : *names) hash = fnv1a(name, fnv1a("\n", hash));
  return hex16(hash);
}

void RegionLoader::restore(const RegionLoaderState& state) {
  check_same_data(state_, state, file_.path());
  order_.slots(state.step, 0);  // throws beyond the last step there is
  state_ = state;
  rejects_.restart();
}

RegionLoader::Picture RegionLoader::read(std::int64_t record) const {
  const AnnotatedPicture& a = file_.read(record);
  const auto file = open_picture(a.image, a.where);
  return or_reject(RejectReason::image_unusable, a.where, [&]() -> Picture {
    const ImageSize size = image_size(file->text(), a.image);
    check_boxes(a, size);
    const auto& o = options_.images;
    const ImageSize to = smart_resize(size, o.factor(), o.min_pixels, o.max_pixels);
    Image image = decode_image(file->text(), a.image);
    if (image.size() != to) image = resize_bicubic(image, to.width, to.height, o.order);
    return {&a, std::move(image), size};
  });
}

std::vector<RegionLoader::Loaded> RegionLoader::load(std::span<const Slot> slots) const {
  std::vector<Loaded> out(slots.size());
  parallel_tasks(static_cast<std::int64_t>(slots.size()), [&](std::int64_t i) {
    const Slot& slot = slots[static_cast<std::size_t>(i)];
    Loaded& l = out[static_cast<std::size_t>(i)];
    try {
      l.picture = cache_.get(slot.record, [&] { return read(slot.record); });
      l.patches = cut_patches(l.picture->image, options_.images);
    } catch (const Rejected& r) { l.faults.push_back({slot, r.reason(), r.what()}); }
  });
  return out;
}

MicroBatchPlan RegionLoader::plan(std::int64_t step, std::int64_t m) const {
  return {.slots = order_.slots(step, m), .samples = order_.per_micro_batch()};
}

LoadedRegionBatch RegionLoader::micro_batch(std::int64_t step, std::int64_t m) const {
  std::vector<Loaded> pictures = load(order_.slots(step, m));
  return batch_of(step, m, pictures);
}

LoadedRegionBatch RegionLoader::batch_of(std::int64_t step, std::int64_t m, std::span<Loaded> pictures) const {
  const auto seed = static_cast<std::uint64_t>(options_.seed), index = static_cast<std::uint64_t>(step);
  const Philox which_regions(seed, "region sampling", index), which_labels(seed, "text label sampling", index);
  LoadedRegionBatch out;
  std::vector<Tensor> pixels;
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    Loaded& l = pictures[i];
    out.faults.insert(out.faults.end(), l.faults.begin(), l.faults.end());
    if (!l.picture) continue;
    const auto place = static_cast<std::uint64_t>(m * order_.per_micro_batch()) + i;  // of the step
    const auto& regions = l.picture->annotation->regions;
    const auto& image = l.picture->image;
    const double patch = static_cast<double>(options_.images.patch),
                 sx = static_cast<double>(image.width) / static_cast<double>(l.picture->size.width) / patch,
                 sy = static_cast<double>(image.height) / static_cast<double>(l.picture->size.height) / patch;
    // A picture's draws and a string's draws have ranges of their own.
    const auto chosen = sample_regions(static_cast<std::int64_t>(regions.size()), options_.regions_per_picture,
                                       which_regions, place << 20);
    for (std::size_t slot = 0; slot < chosen.size(); ++slot) {
      const AnnotatedRegion& r = regions[static_cast<std::size_t>(chosen[slot])];
      Region region{static_cast<std::int64_t>(out.batch.grids.size()),
                    static_cast<std::int64_t>(slot),
                    {r.box.x1 * sx, r.box.y1 * sy, r.box.x2 * sx, r.box.y2 * sy},
                    r.label};
      region.label.characters = sample_labels(r.label.characters, options_.labels_per_text, which_labels,
                                              place << 40 | std::uint64_t{slot} << 20);
      out.batch.regions.push_back(std::move(region));
    }
    pixels.push_back(l.patches.pixel_values);
    out.batch.grids.push_back(l.patches.grid);
  }
  out.batch.pixel_values = join_rows(pixels);
  return out;
}

// All pictures of the step are decoded side by side.
RegionStep RegionLoader::next() {
  std::vector<Slot> slots;
  for (std::int64_t m = 0; m < order_.micro_batches(); ++m)
    for (const Slot& s : order_.slots(state_.step, m)) slots.push_back(s);
  std::vector<Loaded> pictures = load(slots);

  RegionStep step;
  LoaderState s = state_;
  for (std::int64_t m = 0; m < order_.micro_batches(); ++m) {
    const auto n = static_cast<std::size_t>(order_.per_micro_batch());
    LoadedRegionBatch b = batch_of(state_.step, m, std::span(pictures).subspan(static_cast<std::size_t>(m) * n, n));
    rejects_.add(b.faults, s.records, s);
    s.empty += static_cast<std::int64_t>(b.faults.size());
    for (const Region& r : b.batch.regions) (r.label.is_text() ? step.texts : step.objects) += 1;
    step.patches += b.batch.pixel_values ? b.batch.pixel_values.dim(0) : 0;
    step.micro_batches.push_back(std::move(b.batch));
  }
  step.pictures = order_.per_step();
  ++s.step;
  s.samples += step.pictures;
  s.labelled_tokens += step.objects + step.texts;
  state_ = std::move(s);
  return step;
}

}  // namespace ov
