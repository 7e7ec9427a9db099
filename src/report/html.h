// HTML and SVG as text. Elements are made whole, so that tags are always balanced; what comes from outside is escaped
// by whoever puts it in.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ov::html {

using Attributes = std::vector<std::pair<std::string, std::string>>;

std::string escape(std::string_view text);  // & < > " and what no XML may hold

// <name a="1">content</name>; values of attributes are escaped, content is markup already.
std::string element(std::string_view name, const Attributes& attributes, std::string_view content);
inline std::string element(std::string_view name, std::string_view content) { return element(name, {}, content); }
std::string text(std::string_view name, const Attributes& attributes, std::string_view content);  // content is escaped
inline std::string text(std::string_view name, std::string_view content) { return text(name, {}, content); }
std::string empty(std::string_view name, const Attributes& attributes);  // <img a="1"/>

// One row; cells are markup. `name` is td or th.
std::string row(std::string_view name, const std::vector<std::string>& cells);

// A picture inside the page: JPEG, PNG or WebP by its first bytes. input_error that names `path` for anything else.
std::string data_uri(const std::string& path);

// A whole page with the style sheets of report/style.h; `body` is markup.
std::string page(std::string_view title, std::string_view body);

}  // namespace ov::html
