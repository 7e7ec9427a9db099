#include "base/text.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "base/utf8.h"

namespace ov {

std::string_view trimmed(std::string_view s) {
  const std::size_t first = std::min(s.find_first_not_of(" \t\r\n"), s.size());
  return s.substr(first, s.find_last_not_of(" \t\r\n") + 1 - first);
}

bool blank(std::string_view s) { return trimmed(s).empty(); }

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != text.npos; at += part.size()) ++n;
  return n;
}

std::string shown(std::string_view text, std::size_t limit) {
  const auto clean = [](std::string_view part) {
    std::string out;
    for (const char c : valid_utf8(part)) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= 0x20 && byte != 0x7F) out += c;
      else if (c == '\n' || c == '\r' || c == '\t') out += ' ';
      else out += cat("\\x", "0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]);
    }
    return out;
  };
  if (text.size() <= limit) return clean(text);
  // Cut between characters: no byte 10xxxxxx may begin what is left out or what follows it.
  const auto border = [&](std::size_t at) {
    for (int k = 0; k < 3 && at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80; ++k) --at;
    return at;
  };
  return clean(text.substr(0, border(limit - limit / 3))) + " ... " +
         clean(text.substr(border(text.size() - limit / 3)));
}

std::string looks_like(std::string_view s) {
  struct Kind {
    std::string_view start, name;
  };
  static constexpr Kind kinds[] = {
      {"\x1f\x8b", "a gzip file: unpack it first"},
      {"PK\x03\x04", "a zip archive, such as a .bin of PyTorch or an .npz"},
      {"version https://git-lfs.github.com/",
       "a Git LFS pointer: the file itself is still to be fetched (git lfs pull)"},
      {"PAR1", "a Parquet file"},
      {"BZh", "a bzip2 file: unpack it first"},
      {"\xfd"
       "7zXZ",
       "an xz file: unpack it first"},
      {"\x28\xb5\x2f\xfd", "a zstd file: unpack it first"},
      {"7z\xbc\xaf", "a 7-zip archive"},
      {"\x89HDF\r\n", "an HDF5 file"},
      {"\x93NUMPY", "an .npy file"},
      {"GGUF", "a GGUF file"},
      {"GIF8", "a GIF"},
      {"\xff\xd8\xff", "a JPEG picture"},
      {"\x89PNG\r\n\x1a\n", "a PNG picture"},
      {"BM", "a BMP picture"},
      {std::string_view("II*\0", 4), "a TIFF picture"},
      {std::string_view("MM\0*", 4), "a TIFF picture"},
      {"%PDF", "a PDF"},
      {"\x7f"
       "ELF",
       "a program"},
      {"\xff\xfe", "text in UTF-16: save it as UTF-8"},
      {"\xfe\xff", "text in UTF-16: save it as UTF-8"},
  };
  for (const Kind& k : kinds)
    if (s.starts_with(k.start)) return std::string(k.name);
  if (s.starts_with("RIFF") && s.substr(0, 12).ends_with("WEBP")) return "a WebP picture";
  if (s.substr(0, 8).ends_with("ftyp")) return "an AVIF, HEIC or MP4 file";
  if (s.substr(0, 262).ends_with("ustar")) return "a tar archive";
  if (s.size() > 2 && s[0] == '\x80' && s[1] >= 2 && s[1] <= 5) return "a Python pickle, such as a .bin of PyTorch";
  if (s.size() > 8 && s[8] == '{' && s.substr(4, 4) == std::string_view("\0\0\0\0", 4)) return "a safetensors file";
  const std::string_view text = trimmed(s.substr(0, 256));
  if (text.starts_with('{') || text.starts_with('[')) return "JSON text";
  if (text.starts_with("<!") || text.starts_with("<html") || text.starts_with("<?xml")) return "a web page";
  return "";
}

int edit_distance(std::string_view a, std::string_view b) {
  // Three rows of the table d[i][j] = distance of a's first i from b's first j characters.
  std::vector<int> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
  // A table of 10^7 places takes some hundredths of a second: a list of a hundred thousand long names is not looked
  // through to its end for the sake of a message.
  std::size_t places = 10'000'000;
  std::string nearest;
  int least = -1;
  for (const std::string& candidate : candidates) {
    const auto longer = static_cast<int>(std::max(name.size(), candidate.size()));
    const auto shorter = static_cast<int>(std::min(name.size(), candidate.size()));
    const int limit = std::max(2, longer / 3);
    if (longer - shorter > limit || (least >= 0 && longer - shorter >= least)) continue;
    const std::size_t table = name.size() * candidate.size();
    if (table > places) break;
    places -= table;
    const int distance = edit_distance(name, candidate);
    if (distance > limit || (least >= 0 && distance >= least)) continue;
    nearest = candidate;
    least = distance;
  }
  return nearest;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates) {
  const std::string nearest = nearest_name(name, candidates);
  return nearest.empty() ? "" : "; did you mean '" + nearest + "'?";
}

}  // namespace ov
