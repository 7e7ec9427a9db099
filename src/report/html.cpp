#include "report/html.h"

#include "base/error.h"
#include "base/io/file.h"

namespace ov::html {
namespace {

std::string opening(std::string_view name, const Attributes& attributes) {
  std::string out = "<" + std::string(name);
  for (const auto& [key, value] : attributes) out += " " + key + "=\"" + escape(value) + "\"";
  return out;
}

}  // namespace

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '"') out += "&quot;";
    else if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') out += "\xEF\xBF\xBD";  // U+FFFD
    else out += c;
  }
  return out;
}

std::string element(std::string_view name, const Attributes& attributes, std::string_view content) {
  return cat(opening(name, attributes), ">", content, "</", name, ">");
}

std::string text(std::string_view name, const Attributes& attributes, std::string_view content) {
  return element(name, attributes, escape(content));
}

std::string empty(std::string_view name, const Attributes& attributes) { return opening(name, attributes) + "/>"; }

std::string row(std::string_view name, const std::vector<std::string>& cells) {
  std::string out;
  for (const std::string& cell : cells) out += element(name, cell);
  return element("tr", out) + "\n";
}

std::string base64(std::string_view bytes) {
  static const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    unsigned group = 0;
    const std::size_t here = std::min<std::size_t>(3, bytes.size() - i);
    for (std::size_t k = 0; k < 3; ++k) group = group << 8 | (k < here ? static_cast<unsigned char>(bytes[i + k]) : 0);
    for (std::size_t k = 0; k < 4; ++k) out += k <= here ? digits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::string data_uri(const std::string& path) {
  const auto file = MappedFile::open(path);
  const std::string_view bytes = file->text();
  const char* type = bytes.starts_with("\xFF\xD8\xFF")                                                ? "jpeg"
                     : bytes.starts_with("\x89PNG")                                                   ? "png"
                     : bytes.size() > 12 && bytes.starts_with("RIFF") && bytes.substr(8, 4) == "WEBP" ? "webp"
                                                                                                      : nullptr;
  if (!type) input_error(path, ": expected a JPEG, PNG or WebP picture");
  return cat("data:image/", type, ";base64,", base64(bytes));
}

}  // namespace ov::html
