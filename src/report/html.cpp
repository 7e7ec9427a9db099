#include "report/html.h"

#include "base/base64.h"
#include "base/error.h"
#include "base/io/file.h"
#include "report/style.h"

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

std::string data_uri(const std::string& path) {
  const auto file = MappedFile::open(path);
  const std::string_view bytes = file->text();
  const char* type = bytes.starts_with("\xFF\xD8\xFF")                                                ? "jpeg"
                     : bytes.starts_with("\x89PNG")                                                   ? "png"
                     : bytes.size() > 12 && bytes.starts_with("RIFF") && bytes.substr(8, 4) == "WEBP" ? "webp"
                                                                                                      : nullptr;
  if (!type) input_error(path, ": expected a JPEG, PNG or WebP picture");
  return cat("data:image/", type, ";base64,", to_base64(bytes));
}

std::string page(std::string_view title, std::string_view body) {
  const std::string head = empty("meta", {{"charset", "utf-8"}}) +
                           empty("meta", {{"name", "viewport"}, {"content", "width=device-width"}}) +
                           text("title", title) + element("style", cat(plot_style, page_style));
  return cat("<!DOCTYPE html>\n",
             element("html", {{"lang", "en"}}, element("head", head) + element("body", element("main", body))), "\n");
}

}  // namespace ov::html
