#include "instruct/filter.h"

#include <algorithm>
#include <unordered_set>

#include "base/json_section.h"
#include "base/sha256.h"
#include "base/text.h"
#include "base/utf8.h"
#include "data/raw/picture_file.h"
#include "data/reject.h"
#include "image/decode.h"

namespace ov::instruct {
namespace {

std::int64_t characters(std::string_view text) {
  std::int64_t n = 0;
  for (std::size_t at = 0; at < text.size(); ++n) next_code_point(text, at);
  return n;
}

}  // namespace

FilterRules FilterRules::read(const std::string& path) {
  FilterRules f;
  const Json json = Json::read(path);
  JsonSection top(json, path);
  JsonSection caption(json.at("caption_characters"), path + ": caption_characters");
  for (std::size_t l = 0; l < instruct::languages.size(); ++l) {
    const Json* bounds = caption.find(instruct::languages[l]);
    if (!bounds || bounds->size() != 2)
      input_error(caption.where(), ": expected [least, most] of ", instruct::languages[l]);
    f.caption_characters[l] = {(*bounds)[0].as_int(), (*bounds)[1].as_int()};
  }
  f.same_word = top.integer("same_word"), f.record_words = top.integer("record_words");
  f.pictures = top.integer("pictures"), f.most_pixels = top.integer("most_pixels");
  f.decode = top.flag("decode", true);
  JsonSection repeated(json.at("repeated"), path + ": repeated");
  f.repeated_words = repeated.integer("words"), f.repeated_from = repeated.integer("from");
  f.repeated_most = repeated.number("most");
  for (const Json& l : json.at("languages").items()) f.learnt.push_back(l.as_string());
  if (f.same_word < 2 || f.repeated_words < 1)
    input_error(path, ": expected same_word of at least 2, words of at least 1");
  return f;
}

std::int64_t longest_run(const std::vector<std::string>& words) {
  std::int64_t longest = 0, run = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    run = i > 0 && words[i] == words[i - 1] ? run + 1 : 1;
    longest = std::max(longest, run);
  }
  return longest;
}

double repeated_share(const std::vector<std::string>& words, std::int64_t n) {
  const std::int64_t runs = static_cast<std::int64_t>(words.size()) - n + 1;
  if (runs < 1) return 0;
  std::unordered_set<std::string> seen;
  std::int64_t again = 0;
  for (std::int64_t i = 0; i < runs; ++i) {
    std::string run;
    for (std::int64_t k = i; k < i + n; ++k) run += words[static_cast<std::size_t>(k)] + " ";
    again += !seen.insert(std::move(run)).second;
  }
  return static_cast<double>(again) / static_cast<double>(runs);
}

void FilterRules::apply(Record& r, Notes&) const {
  std::string all;
  std::int64_t spoken = 0;
  for (std::size_t t = 0; t < r.turns.size(); ++t) {
    const Turn& turn = r.turns[t];
    std::vector<std::string> list = words_of(turn.text);
    spoken += static_cast<std::int64_t>(list.size());
    all += without_tags(turn.text) + "\n";
    if (turn.role != "assistant") continue;
    for (std::string& w : list) w = lowered(w);
    if (const auto run = longest_run(list); run >= same_word)
      refuse("same_word", run, " times in a row in message ", t + 1);
    if (static_cast<std::int64_t>(list.size()) >= repeated_from)
      if (const double share = repeated_share(list, repeated_words); share > repeated_most)
        refuse("repetition", share, " of the runs of ", repeated_words, " words in message ", t + 1);
    if (r.category != "caption") continue;
    const auto& bounds =
        caption_characters[static_cast<std::size_t>(std::max(0, place_of(instruct::languages, r.lang)))];
    if (const auto n = characters(trimmed(turn.text)); n < bounds[0] || n > bounds[1])
      refuse(n < bounds[0] ? "caption_short" : "caption_long", n, " characters, expected ", bounds[0], " to ",
             bounds[1]);
  }
  if (spoken > record_words) refuse("too_long", spoken, " words, expected at most ", record_words);
  const std::string found = language_of(all);
  if (const std::string& lang = found == "other" ? found : r.lang;
      std::find(learnt.begin(), learnt.end(), lang) == learnt.end())
    refuse("language", "is ", lang);

  if (static_cast<std::int64_t>(r.images.size()) > pictures)
    refuse("pictures", r.images.size(), ", at most ", pictures);
  std::string digests = r.content;
  for (std::size_t k = 0; k < r.images.size(); ++k) {
    const bool here = !r.image_bytes.empty();
    const auto file = here ? nullptr : open_picture(r.images[k], r.id);
    const std::string_view bytes = here ? r.image_bytes[k] : file->text();
    const auto unusable = [&](auto&& f) { return or_reject(RejectReason::image_unusable, r.id, f); };
    const ImageSize size = unusable([&] { return image_size(bytes, r.images[k]); });
    if (size.width * size.height > most_pixels)
      refuse("image_large", size.width, " x ", size.height, ", at most ", most_pixels, " pixels");
    if (decode) {
      const Image image = unusable([&] { return decode_image(bytes, r.images[k]); });
      if (std::all_of(image.rgb.begin(), image.rgb.end(), [](std::uint8_t v) { return v == 0; }))
        refuse("image_black", r.images[k], ": every pixel is zero");
    }
    digests += sha256(bytes);
  }
  r.content = sha256(digests);
}

}  // namespace ov::instruct
