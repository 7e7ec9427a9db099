#include "data/load/region_loader.h"

#include "base/parallel.h"
#include "data/load/state_json.h"
#include "data/sample/processor.h"
#include "image/decode.h"
#include "image/smart_resize.h"

namespace ov {
namespace {

constexpr StateField<RegionLoaderState> fields[] = {
    {"seed", &RegionLoaderState::seed},       {"records", &RegionLoaderState::records},
    {"epoch", &RegionLoaderState::epoch},     {"position", &RegionLoaderState::position},
    {"step", &RegionLoaderState::step},       {"pictures", &RegionLoaderState::pictures},
    {"regions", &RegionLoaderState::regions},
};

std::shared_ptr<const MappedFile> open_picture(const AnnotatedPicture& a) {
  try {
    return MappedFile::open(a.image);
  } catch (const Error& e) {
    if (e.exit() != Exit::wrong_input) throw;
    throw Rejected(RejectReason::image_missing, cat(a.where, ": ", e.what()));
  }
}

}  // namespace

Json RegionLoaderState::json() const {
  Json out = Json::object();
  write_state<RegionLoaderState>(out, *this, fields);
  return out;
}

RegionLoaderState RegionLoaderState::from_json(const Json& json, const std::string& where) {
  RegionLoaderState s;
  read_state<RegionLoaderState>(json, s, fields, where);
  return s;
}

RegionLoader::RegionLoader(RegionLoaderOptions options) : options_(std::move(options)), file_(options_.regions) {
  require_at_least(options_.regions_per_picture, 0, "regions_per_picture");
  require_at_least(options_.labels_per_text, 0, "labels_per_text");
  require_at_least(options_.pictures_per_micro_batch, 1, "pictures_per_micro_batch");
  require_at_least(options_.micro_batches_per_step, 1, "micro_batches_per_step");
  require_at_least(options_.seed, 0, "seed");
  require_at_least(options_.max_rejects, 0, "max_rejects");
  state_.seed = options_.seed;
  state_.records = file_.size();
}

void RegionLoader::restore(const RegionLoaderState& state) {
  if (state.records != file_.size())
    input_error(file_.path(), ": holds ", file_.size(), " pictures, but the state to go on from is of ", state.records);
  if (state.seed != options_.seed)
    input_error("data seed is ", options_.seed, ", but the state to go on from has seed ", state.seed);
  if (state.position >= state.records)
    input_error(file_.path(), ": the state to go on from is at position ", state.position, " of ", state.records);
  state_ = state;
  rejects_.reset();
}

// The record `ahead` places behind the cursor, into later epochs if need be.
std::int64_t RegionLoader::record_at(std::int64_t ahead) const {
  const std::int64_t at = state_.position + ahead, n = state_.records;
  return Permutation(n, static_cast<std::uint64_t>(state_.seed),
                     static_cast<std::uint64_t>(state_.epoch + at / n))(at % n);
}

RegionLoader::Loaded RegionLoader::load(std::int64_t record) const {
  if (const auto found = cache_.find(record); found != cache_.end()) return found->second;
  Loaded out;
  try {
    const AnnotatedPicture& a = file_.read(record);
    const auto file = open_picture(a);
    try {
      out.size = image_size(file->text(), a.image);
      check_boxes(a, out.size);
      const auto& o = options_.images;
      const ImageSize to = smart_resize(out.size, o.factor(), o.min_pixels, o.max_pixels);
      Image image = decode_image(file->text(), a.image);
      if (image.size() != to) image = resize_bicubic(image, to.width, to.height, o.order);
      out.image = std::make_shared<const Image>(std::move(image));
    } catch (const Rejected&) { throw; } catch (const Error& e) {
      if (e.exit() != Exit::wrong_input) throw;
      throw Rejected(RejectReason::image_unusable, cat(a.where, ": ", e.what()));
    }
    out.annotation = &a;
  } catch (const Rejected& r) { out.rejected = std::make_shared<const Rejected>(r); }
  return out;
}

// Each reject so far has one line, so the file is cut behind the lines that the state has counted before it grows.
void RegionLoader::count_reject(std::int64_t record, const Rejected& rejected) {
  if (!options_.rejects_path.empty()) {
    if (!rejects_) {
      std::int64_t kept = 0;
      rejects_.emplace(
          JsonlWriter::resume(options_.rejects_path, [&](const Json&) { return kept++ < state_.rejects.total(); }));
    }
    rejects_->write(Json::object({{"epoch", state_.epoch},
                                  {"record", record + 1},
                                  {"reason", name_of(rejected.reason())},
                                  {"message", rejected.what()}}));
  }
  state_.rejects.add(rejected.reason());
  state_.epoch_rejects.add(rejected.reason());
  const std::int64_t n = state_.epoch_rejects.total();
  if (n > options_.max_rejects || n == state_.records)
    input_error(file_.path(), ": ", n, " of ", state_.records, " pictures rejected",
                n > options_.max_rejects ? cat(", more than max_rejects ", options_.max_rejects)
                                         : std::string(", so none is left to learn from"),
                " (", state_.epoch_rejects.str(), "); the last: ", rejected.what());
}

// The next pictures that are good. As many as are still wanted are decoded side by side and then taken in order.
std::vector<RegionLoader::Loaded> RegionLoader::take(std::int64_t pictures) {
  std::vector<Loaded> taken;
  while (static_cast<std::int64_t>(taken.size()) < pictures) {
    const std::int64_t n = pictures - static_cast<std::int64_t>(taken.size());
    std::vector<Loaded> loaded(static_cast<std::size_t>(n));
    parallel_for(n, [&](std::int64_t i) { loaded[static_cast<std::size_t>(i)] = load(record_at(i)); });
    for (Loaded& one : loaded) {
      const std::int64_t record = record_at(0);
      if (one.rejected) {
        count_reject(record, *one.rejected);
      } else {
        const auto bytes = static_cast<std::int64_t>(one.image->rgb.size());
        if (cached_bytes_ + bytes <= options_.cache_bytes && cache_.emplace(record, one).second) cached_bytes_ += bytes;
        taken.push_back(std::move(one));
      }
      if (++state_.position == state_.records) {
        state_.position = 0;
        ++state_.epoch;
        state_.epoch_rejects = {};
      }
    }
  }
  return taken;
}

RegionStep RegionLoader::next() {
  const std::int64_t per_batch = options_.pictures_per_micro_batch;
  RegionStep step;
  step.pictures = per_batch * options_.micro_batches_per_step;
  const std::vector<Loaded> pictures = take(step.pictures);
  std::vector<Patches> patches(pictures.size());
  parallel_for(step.pictures, [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    patches[at] = cut_patches(*pictures[at].image, options_.images);
  });

  const auto seed = static_cast<std::uint64_t>(state_.seed), index = static_cast<std::uint64_t>(state_.step);
  const Philox which_regions(seed, "region sampling", index), which_labels(seed, "text label sampling", index);
  for (std::int64_t m = 0; m < options_.micro_batches_per_step; ++m) {
    RegionBatch batch;
    std::vector<Tensor> pixels;
    for (std::int64_t i = 0; i < per_batch; ++i) {
      const auto place = static_cast<std::size_t>(m * per_batch + i);
      const Loaded& picture = pictures[place];
      const auto& regions = picture.annotation->regions;
      const auto& image = *picture.image;
      const double patch = static_cast<double>(options_.images.patch),
                   sx = static_cast<double>(image.width) / static_cast<double>(picture.size.width) / patch,
                   sy = static_cast<double>(image.height) / static_cast<double>(picture.size.height) / patch;
      // A picture's draws and a string's draws have ranges of their own.
      const auto chosen = sample_regions(static_cast<std::int64_t>(regions.size()), options_.regions_per_picture,
                                         which_regions, std::uint64_t{place} << 20);
      for (std::size_t slot = 0; slot < chosen.size(); ++slot) {
        const AnnotatedRegion& r = regions[static_cast<std::size_t>(chosen[slot])];
        Region region{
            i, static_cast<std::int64_t>(slot), {r.box.x1 * sx, r.box.y1 * sy, r.box.x2 * sx, r.box.y2 * sy}, r.label};
        region.label.characters = sample_labels(r.label.characters, options_.labels_per_text, which_labels,
                                                std::uint64_t{place} << 40 | std::uint64_t{slot} << 20);
        (region.label.is_text() ? step.texts : step.objects) += 1;
        batch.regions.push_back(std::move(region));
      }
      pixels.push_back(patches[place].pixel_values);
      batch.grids.push_back(patches[place].grid);
      step.patches += pixels.back().dim(0);
    }
    batch.pixel_values = join_rows(pixels);
    step.micro_batches.push_back(std::move(batch));
  }
  ++state_.step;
  state_.pictures += step.pictures;
  state_.regions += step.objects + step.texts;
  return step;
}

}  // namespace ov
