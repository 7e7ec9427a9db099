// Pictures with their captions, as a contrastive loss reads them: from conversations or a webdataset
// (data/raw/records.h), of which a record's picture and its first answer count.
//
//   picture   as CLIP's processor: Pillow bicubic to a shorter side of `side`, the square in its middle, normalised
//   caption   its ids and eos, cut to max_tokens as CLIP's tokenizer does: eos stays last
#pragma once
#include <memory>
#include <string>

#include "data/load/loader.h"
#include "data/raw/records.h"

namespace ov {

struct CaptionedOptions {
  std::string path, image_dir;  // open_records
  std::string manifest = "";    // those of them that it draws (data/raw/drawn_records.h); "": all
  std::int64_t side = 224;      // pixels; a multiple of the processor's patch
  std::int64_t eos = 0, max_tokens = 77;
};

// The two halves, each alone. Rejected: image_count unless there is one picture, image_missing, image_unusable.
Patches clip_picture(const Conversation& record, std::int64_t side, const ProcessorConfig& images);
// A part of a picture, all of it in the square whatever its shape. 0 <= left, top; width, height >= 1, inside.
Patches clip_region(const Image& image, std::int64_t left, std::int64_t top, std::int64_t width, std::int64_t height,
                    std::int64_t side, const ProcessorConfig& images);
std::vector<std::int64_t> clip_text(const Tokenizer& tokenizer, std::string_view text, std::int64_t eos,
                                    std::int64_t max_tokens);
// The first answer; "" when there is none.
std::string_view caption_of(const Conversation& record);

class CaptionedPictures : public SampleSource {
 public:
  // Of the processor: the tokenizer, the patch, mean and std. Its merge size must be 1.
  CaptionedPictures(CaptionedOptions options, const Processor& processor);

  const std::string& path() const override { return records_->path(); }
  std::int64_t size() const override { return records_->size(); }
  // One segment of ids, none of them labelled, and the rows of one picture. Rejected: image_count unless there is one
  // picture, no_answer, image_missing, image_unusable.
  Sample sample(std::int64_t index) const override;
  std::string fingerprint() const override { return records_->fingerprint(); }
  std::shared_ptr<const Mixture> mixture() const override { return records_->mixture(); }

 private:
  const CaptionedOptions options_;
  const Processor processor_;
  const std::unique_ptr<const Records> records_;
};

}  // namespace ov
