#include <cmath>

#include "base/parallel.h"
#include "base/sha256.h"
#include "curate/embed_blocks.h"
#include "data/raw/captioned_pictures.h"
#include "data/raw/picture_file.h"
#include "data/raw/regions.h"
#include "data/reject.h"
#include "image/decode.h"
#include "model/files/clip_directory.h"

namespace ov {
namespace {

constexpr std::int64_t block_pictures = 256;

struct Crops {
  std::vector<Tensor> pixels;
  std::vector<std::int64_t> region;  // of each: which of the picture's objects
  std::int64_t too_small = 0;
  Json reject;  // null: none
};

// The objects of a picture, each cut out.
Crops crops_of(const AnnotatedPicture& a, std::int64_t side, std::int64_t min_edge, const ProcessorConfig& images) {
  Crops out;
  const auto file = open_picture(a.image, a.where);
  or_reject(RejectReason::image_unusable, a.where, [&] {
    const Image image = decode_image(file->text(), a.image);
    check_boxes(a, image.size());
    for (std::size_t r = 0; r < a.regions.size(); ++r) {
      const Box& box = a.regions[r].box;
      if (a.regions[r].label.is_text()) continue;
      if (std::min(box.x2 - box.x1, box.y2 - box.y1) < static_cast<double>(min_edge)) {
        ++out.too_small;
        continue;
      }
      const auto left = static_cast<std::int64_t>(box.x1), top = static_cast<std::int64_t>(box.y1);
      const auto right = static_cast<std::int64_t>(std::ceil(box.x2)),
                 low = static_cast<std::int64_t>(std::ceil(box.y2));
      out.pixels.push_back(clip_region(image, left, top, right - left, low - top, side, images).pixel_values);
      out.region.push_back(static_cast<std::int64_t>(r));
    }
  });
  return out;
}

}  // namespace

Json embed_regions(const EmbedOptions& o) {
  const RegionFile file(o.regions);
  const std::string name = set_name(o.regions);
  const ClipIdentity clip = ClipIdentity::of(o.model);
  const std::string made_from =
      sha256(cat("embed regions ", name_of(o.dtype), " ", o.min_edge, clip.towers, " ", name, " ", file.fingerprint()));
  const Blocks blocks(o.out, made_from, (file.size() + block_pictures - 1) / block_pictures);
  if (Json done = finished_report(o.out, made_from, blocks, o.shard, o.max_rejects); done.is_object()) return done;
  const auto model = load_clip(o.model, o.dtype, *o.device);
  const ClipConfig& c = model->config();
  ProcessorConfig images;
  images.patch = c.patch, images.merge = 1;
  const auto embed_block = [&](std::int64_t b) {
    const std::int64_t first = b * block_pictures, n = std::min(block_pictures, file.size() - first);
    std::vector<Crops> crops(static_cast<std::size_t>(n));
    parallel_for(n, [&](std::int64_t i) {
      Crops& out = crops[static_cast<std::size_t>(i)];
      try {
        out = crops_of(file.read(first + i), c.image, o.min_edge, images);
      } catch (const Rejected& e) {
        out.reject = Json::object(
            {{"source", name}, {"record", first + i}, {"reason", name_of(e.reason())}, {"message", e.what()}});
      }
    });
    EmbeddingRows rows;
    std::vector<Tensor> pixels;
    Json rejects = Json::array();
    std::int64_t too_small = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      Crops& one = crops[static_cast<std::size_t>(i)];
      if (!one.reject.is_null()) rejects.push(one.reject);
      too_small += one.too_small;
      for (std::size_t k = 0; k < one.pixels.size(); ++k) {
        pixels.push_back(std::move(one.pixels[k]));
        rows.ids.push_back(cat(name, ":", first + i, ":", one.region[k]));
        rows.records.push_back(first + i), rows.sources.push_back(0), rows.regions.push_back(one.region[k]);
      }
    }
    in_batches(static_cast<std::int64_t>(pixels.size()), [&](std::int64_t begin, std::int64_t end) {
      ClipInputs in;
      in.pixel_values =
          join_rows({pixels.begin() + begin, pixels.begin() + end}).to(o.dtype, Segment::data).to(*o.device);
      append_rows(rows.values, model->image_embeds(nullptr, in));
    });
    rows.write(blocks.path(b), c.projection,
               {{"records", cat(n)}, {"rejects", rejects.dump()}, {"too_small", cat(too_small)}});
  };
  ShareCounts counts("embed", o.shard, o.out, o.max_rejects);
  const bool join = blocks.make(o.shard, "embed", embed_block, [&](std::int64_t b) { count_block(counts, blocks, b); });
  counts.finish();
  if (!join) return {};
  return join_embedded(o, blocks, made_from, clip, c.projection, Json(std::vector<std::string>{name}),
                       Json(std::vector<std::string>{file.fingerprint()}));
}

}  // namespace ov
