#include "data/sample/sample.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "data/raw/picture_file.h"
#include "image/decode.h"

namespace ov {
namespace {

// What can be said without opening a picture.
void check_record(const Conversation& c, TurnLayout layout) {
  std::int64_t tags = 0, questions = 0;
  for (std::size_t i = 0; i < c.turns.size(); ++i) {
    const Turn& turn = c.turns[i];
    if (turn.role == "assistant" && blank(turn.text))
      reject(RejectReason::no_answer, c.where, ": message ", i + 1, ": the answer is empty");
    if (turn.role != "user") continue;
    const auto here = static_cast<std::int64_t>(count(turn.text, image_tag));
    if (layout == TurnLayout::shared_prefix && questions > 0 && here > 0)
      reject(RejectReason::late_image, c.where, ": message ", i + 1,
             " brings a picture of its own; data.turns shared_prefix needs all pictures in the first question "
             "(data.turns conversation does not)");
    tags += here;
    ++questions;
  }
  if (tags != static_cast<std::int64_t>(c.images.size()))
    reject(RejectReason::image_count, c.where, ": ", tags, " <image> tag(s) in the questions, but ", c.images.size(),
           " picture(s)");
}

struct Picture {
  std::string_view bytes;
  std::string name;                    // "where: picture 2: path"
  std::shared_ptr<const void> memory;  // keeps the bytes
};

// Behind check_record: nothing is opened for a record that its text rules out.
std::vector<Picture> open_pictures(const Conversation& c, TurnLayout layout) {
  check_record(c, layout);
  std::vector<Picture> pictures;
  for (const std::string& path : c.images) {
    const std::string where = cat(c.where, ": picture ", pictures.size() + 1), name = cat(where, ": ", path);
    if (c.image_bytes.empty()) {
      const auto file = open_picture(path, where);
      pictures.push_back({file->text(), name, file});
    } else {
      pictures.push_back({c.image_bytes[pictures.size()], name, c.memory});
    }
  }
  return pictures;
}

// Encoding reports what is wrong with roles or text; all of it is the record's fault.
Sample encode(const Conversation& c, const Processor& processor, const std::vector<std::int64_t>& image_tokens,
              const SampleOptions& options) {
  Sample s;
  const auto append = [&](Encoded e, std::int64_t prefix) {
    s.segments.push_back({static_cast<std::int64_t>(s.ids.size()), static_cast<std::int64_t>(e.ids.size()), prefix});
    s.ids.insert(s.ids.end(), e.ids.begin(), e.ids.end());
    s.labels.insert(s.labels.end(), e.labels.begin(), e.labels.end());
  };
  const ConversationOptions text{.literal_tokens = options.literal_tokens};
  if (options.turns == TurnLayout::conversation) {
    append(encode_conversation(processor.tokenizer(), c.turns, image_tokens, text), -1);
  } else {
    Branched b = encode_branches(processor.tokenizer(), c.turns, image_tokens, text);
    std::vector<std::int64_t> unlabelled(b.prefix.size(), ignored_label);
    append({std::move(b.prefix), std::move(unlabelled)}, -1);
    for (Encoded& branch : b.branches) append(std::move(branch), 0);
  }
  return s;
}

// All but the pixels.
Sample measured(const Conversation& c, const std::vector<Picture>& pictures, const Processor& processor,
                const SampleOptions& options) {
  const ProcessorConfig& config = processor.images();
  std::vector<std::array<std::int64_t, 3>> grids;
  std::vector<std::int64_t> image_tokens;
  std::int64_t tokens_of_images = 0;
  for (const Picture& p : pictures) {
    const ImageSize size = or_reject(RejectReason::image_unusable, "", [&] { return image_size(p.bytes, p.name); });
    grids.push_back(or_reject(RejectReason::image_unusable, p.name, [&] { return patch_grid(size, config); }));
    image_tokens.push_back(merged_tokens(size, config));
    tokens_of_images += image_tokens.back();
  }
  Sample s =
      or_reject(RejectReason::malformed_record, c.where, [&] { return encode(c, processor, image_tokens, options); });
  if (const auto n = static_cast<std::int64_t>(s.ids.size()); n > options.max_tokens)
    reject(RejectReason::over_length, c.where, ": ", n, " tokens, ", tokens_of_images, " of them for ", pictures.size(),
           " picture(s), more than ", options.limit_key, " ", options.max_tokens);
  s.grids = std::move(grids);
  s.source = c.source;
  return s;
}

}  // namespace

TurnLayout turn_layout(const std::string& name) {
  if (name == "conversation") return TurnLayout::conversation;
  if (name == "shared_prefix") return TurnLayout::shared_prefix;
  input_error("turns: expected conversation or shared_prefix, found '", name, "'",
              did_you_mean(name, {"conversation", "shared_prefix"}));
}

std::int64_t Sample::bytes() const {
  return static_cast<std::int64_t>((pixel_values ? pixel_values.nbytes() : 0) + 16 * ids.size() +
                                   sizeof(TokenSegment) * segments.size() + source.size() + sizeof(Sample));
}

Sample measure_sample(const Conversation& c, const Processor& processor, const SampleOptions& options) {
  return measured(c, open_pictures(c, options.turns), processor, options);
}

Sample make_sample(const Conversation& c, const Processor& processor, const SampleOptions& options) {
  const std::vector<Picture> pictures = open_pictures(c, options.turns);
  Sample s = measured(c, pictures, processor, options);
  std::vector<Tensor> pixels;
  for (const Picture& p : pictures) {
    const Patches patches = or_reject(RejectReason::image_unusable, "", [&] {
      return named_patches(decode_image(p.bytes, p.name), processor.images(), p.name);
    });
    pixels.push_back(patches.pixel_values);
  }
  s.pixel_values = join_rows(pixels);
  return s;
}

MicroBatch packed_micro_batch(std::span<const Sample> samples) {
  if (samples.empty()) input_error("a micro-batch needs at least one sample");
  MicroBatch out;
  std::vector<Tensor> pixels;
  for (const Sample& s : samples) {
    const auto first_token = out.tokens();
    const auto first_segment = static_cast<std::int64_t>(out.segments.size());
    for (const TokenSegment& segment : s.segments) {
      const bool branch = segment.prefix >= 0;
      const std::int64_t start = branch ? s.segments[static_cast<std::size_t>(segment.prefix)].length : 0;
      out.segments.push_back(
          {first_token + segment.begin, segment.length, branch ? first_segment + segment.prefix : -1});
      out.sample_of_segment.push_back(out.samples);
      for (std::int64_t t = 0; t < segment.length; ++t) out.positions.push_back(start + t);
    }
    out.input_ids.insert(out.input_ids.end(), s.ids.begin(), s.ids.end());
    out.labels.insert(out.labels.end(), s.labels.begin(), s.labels.end());
    out.grids.insert(out.grids.end(), s.grids.begin(), s.grids.end());
    if (s.pixel_values) pixels.push_back(s.pixel_values);
    out.source_of_sample.push_back(s.source);
    ++out.samples;
  }
  out.pixel_values = join_rows(pixels);
  return out;
}

std::int64_t count_labels(const MicroBatch& batch) {
  return std::count_if(batch.labels.begin(), batch.labels.end(), [](std::int64_t l) { return l != ignored_label; });
}

}  // namespace ov
