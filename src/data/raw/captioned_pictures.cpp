#include "data/raw/captioned_pictures.h"

#include <algorithm>

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

CaptionedPictures::CaptionedPictures(CaptionedOptions options, const Processor& processor)
    : options_(std::move(options)), processor_(processor), records_(open_records(options_.path, options_.image_dir)) {}

Sample CaptionedPictures::sample(std::int64_t index) const {
  const Conversation c = records_->read(index);
  if (c.images.size() != 1)
    reject(RejectReason::image_count, c.where, ": ", c.images.size(), " pictures, expected one with its caption");
  const auto answer = std::find_if(c.turns.begin(), c.turns.end(), [](const Turn& t) { return t.role == "assistant"; });
  if (answer == c.turns.end() || answer->text.find_first_not_of(" \t\r\n") == std::string::npos)
    reject(RejectReason::no_answer, c.where, ": no answer that could be a caption");

  Sample s;
  s.ids = processor_.tokenizer().encode(answer->text, false);
  s.ids.resize(std::min(s.ids.size(), static_cast<std::size_t>(options_.max_tokens - 1)));
  s.ids.push_back(options_.eos);
  s.labels.assign(s.ids.size(), ignored_label);
  s.segments = {{0, static_cast<std::int64_t>(s.ids.size()), -1}};
  RejectReason reason = RejectReason::image_missing;
  try {
    const auto file = c.image_bytes.empty() ? MappedFile::open(c.images[0]) : nullptr;
    reason = RejectReason::image_unusable;
    const Image image = decode_image(file ? file->text() : c.image_bytes[0], c.images[0]);
    const Patches patches =
        cut_patches(middle_square(image, options_.side, processor_.images().order), processor_.images());
    s.pixel_values = patches.pixel_values;
    s.grids = {patches.grid};
  } catch (const Error& e) {
    if (e.exit() != Exit::wrong_input) throw;
    throw Rejected(reason, cat(c.where, ": ", e.what()));
  }
  return s;
}

}  // namespace ov
