#include "data/raw/captioned_pictures.h"

#include <algorithm>

#include "base/text.h"
#include "data/raw/drawn_records.h"
#include "image/decode.h"

namespace ov {
namespace {

// The square in the middle of a picture whose shorter side became `side`; the longer one is rounded down.
Image middle_square(const Image& image, std::int64_t side, PassOrder order) {
  const std::int64_t shorter = std::min(image.width, image.height);
  const Image scaled = resize_bicubic(image, side * image.width / shorter, side * image.height / shorter, order);
  Image square(side, side);
  const std::int64_t left = (scaled.width - side) / 2, top = (scaled.height - side) / 2;
  for (std::int64_t y = 0; y < side; ++y) std::copy_n(scaled.row(top + y) + 3 * left, 3 * side, square.row(y));
  return square;
}

}  // namespace

Patches clip_picture(const Conversation& c, std::int64_t side, const ProcessorConfig& images) {
  if (c.images.size() != 1)
    reject(RejectReason::image_count, c.where, ": ", c.images.size(), " pictures, expected one with its caption");
  RejectReason reason = RejectReason::image_missing;
  try {
    const auto file = c.image_bytes.empty() ? MappedFile::open(c.images[0]) : nullptr;
    reason = RejectReason::image_unusable;
    const Image image = decode_image(file ? file->text() : c.image_bytes[0], c.images[0]);
    return cut_patches(middle_square(image, side, images.order), images);
  } catch (const Error& e) {
    if (e.exit() != Exit::wrong_input) throw;
    throw Rejected(reason, cat(c.where, ": ", e.what()));
  }
}

Patches clip_region(const Image& image, std::int64_t left, std::int64_t top, std::int64_t width, std::int64_t height,
                    std::int64_t side, const ProcessorConfig& images) {
  Image part(width, height);
  for (std::int64_t y = 0; y < height; ++y) std::copy_n(image.row(top + y) + 3 * left, 3 * width, part.row(y));
  return cut_patches(resize_bicubic(part, side, side, images.order), images);
}

std::vector<std::int64_t> clip_text(const Tokenizer& tokenizer, std::string_view text, std::int64_t eos,
                                    std::int64_t max_tokens) {
  std::vector<std::int64_t> ids = tokenizer.encode(text, false);
  ids.resize(std::min(ids.size(), static_cast<std::size_t>(max_tokens - 1)));
  ids.push_back(eos);
  return ids;
}

std::string_view caption_of(const Conversation& c) {
  const auto answer = std::find_if(c.turns.begin(), c.turns.end(), [](const Turn& t) { return t.role == "assistant"; });
  return answer == c.turns.end() ? std::string_view() : answer->text;
}

CaptionedPictures::CaptionedPictures(CaptionedOptions options, const Processor& processor)
    : options_(std::move(options)),
      processor_(processor),
      records_(drawn_records(open_records(options_.path, options_.image_dir), options_.manifest)) {}

Sample CaptionedPictures::sample(std::int64_t index) const {
  const Conversation c = records_->read(index);
  const std::string_view caption = caption_of(c);
  if (blank(caption)) reject(RejectReason::no_answer, c.where, ": no answer that could be a caption");

  Sample s;
  s.ids = clip_text(processor_.tokenizer(), caption, options_.eos, options_.max_tokens);
  s.labels.assign(s.ids.size(), ignored_label);
  s.segments = {{0, static_cast<std::int64_t>(s.ids.size()), -1}};
  const Patches patches = clip_picture(c, options_.side, processor_.images());
  s.pixel_values = patches.pixel_values;
  s.grids = {patches.grid};
  return s;
}

}  // namespace ov
