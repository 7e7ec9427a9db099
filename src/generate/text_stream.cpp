#include "generate/text_stream.h"

#include <algorithm>

#include "base/utf8.h"

namespace ov {
namespace {

// How many of the last bytes are the beginning of a character that valid UTF-8 may go on with (Unicode 15, table 3-7).
std::size_t begun_character(std::string_view s) {
  for (std::size_t n = 1; n <= std::min<std::size_t>(3, s.size()); ++n) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[s.size() - n + i]); };
    if (byte(0) >= 0x80 && byte(0) < 0xc0) continue;
    const std::size_t length = byte(0) < 0xc2 || byte(0) > 0xf4 ? 1 : byte(0) < 0xe0 ? 2 : byte(0) < 0xf0 ? 3 : 4;
    if (length <= n) return 0;
    const unsigned char least = byte(0) == 0xe0   ? 0xa0
                                : byte(0) == 0xf0 ? 0x90
                                                  : 0x80,
                        most = byte(0) == 0xed   ? 0x9f
                               : byte(0) == 0xf4 ? 0x8f
                                                 : 0xbf;
    return n > 1 && (byte(1) < least || byte(1) > most) ? 0 : n;
  }
  return 0;
}

}  // namespace

std::string token_bytes(const Tokenizer& tokenizer, std::int64_t id, bool skip_special) {
  const auto& added = tokenizer.added_tokens();
  const auto at =
      std::lower_bound(added.begin(), added.end(), id, [](const AddedToken& t, std::int64_t i) { return t.id < i; });
  if (at != added.end() && at->id == id) return skip_special && at->special ? "" : at->text;
  const std::string* bytes = tokenizer.bpe().bytes(id);
  return bytes ? *bytes : "";
}

std::size_t TextStream::certain() const {
  std::size_t held = 0;
  for (const std::string& stop : stop_)
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > held; --n)
      if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) held = n;
  return held_.size() - held;
}

std::string TextStream::take(std::size_t bytes, bool last) {
  held_ += valid_utf8(std::string_view(begun_).substr(0, bytes));
  begun_.erase(0, bytes);
  std::size_t end = std::string::npos;
  for (const std::string& stop : stop_) end = std::min(end, held_.find(stop));
  stopped_ = end != std::string::npos;
  if (!stopped_) end = last ? held_.size() : certain();
  const std::string text = held_.substr(0, end);
  held_.erase(0, stopped_ ? std::string::npos : end);
  return text;
}

std::string TextStream::add(std::int64_t id) {
  if (stopped_) return "";
  begun_ += token_bytes(tokenizer_, id);
  return take(begun_.size() - begun_character(begun_), false);
}

std::string TextStream::finish() { return stopped_ ? "" : take(begun_.size(), true); }

}  // namespace ov
