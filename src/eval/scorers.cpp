#include "eval/scorers.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace ov {
namespace {

bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'; }

std::vector<std::string> split_at_commas(std::string_view text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0;;) {
    const std::size_t end = text.find(',', begin);
    parts.push_back(normalise(text.substr(begin, end - begin)));
    if (end == text.npos) return parts;
    begin = end + 1;
  }
}

// The whole text as a decimal number; no infinities, no hexadecimal, no words.
std::optional<double> number(std::string_view text) {
  const std::string digits = normalise(text);
  if (digits.empty() || digits.find_first_not_of("0123456789+-.e") != digits.npos) return {};
  const char *begin = digits.data() + (digits[0] == '+'), *end = digits.data() + digits.size();
  double value = 0;
  const auto [stop, error] = std::from_chars(begin, end, value);
  if (error != std::errc() || stop != end) return {};
  return value;
}

using Corners = std::array<double, 4>;  // x1, y1, x2, y2 with x1 < x2 and y1 < y2

std::optional<Corners> corners(std::string_view text) {
  const auto parts = split_at_commas(text);
  if (parts.size() != 4) return {};
  Corners c;
  for (std::size_t i = 0; i < 4; ++i) {
    const auto value = number(parts[i]);
    if (!value) return {};
    c[i] = *value;
  }
  if (!(c[0] < c[2] && c[1] < c[3])) return {};
  return c;
}

double area(const Corners& c) { return std::max(0.0, c[2] - c[0]) * std::max(0.0, c[3] - c[1]); }

double exact(std::string_view prediction, std::string_view answer) {
  return normalise(prediction) == normalise(answer);
}

double same_number(std::string_view prediction, std::string_view answer) {
  const auto p = number(prediction), a = number(answer);
  return p && a && *p == *a;
}

double iou(std::string_view prediction, std::string_view answer) {
  const auto p = corners(prediction), a = corners(answer);
  if (!p || !a) return 0;
  const double both = area(
      {std::max((*p)[0], (*a)[0]), std::max((*p)[1], (*a)[1]), std::min((*p)[2], (*a)[2]), std::min((*p)[3], (*a)[3])});
  // both / (area + area - both) >= 1/2 without the division: exact for whole numbers.
  return 2 * both >= area(*p) + area(*a) - both;
}

std::vector<std::string> phrases(std::string_view text) {
  auto parts = split_at_commas(text);
  std::erase(parts, "");
  std::sort(parts.begin(), parts.end());
  return parts;
}

double phrase_f1(std::string_view prediction, std::string_view answer) {
  const auto p = phrases(prediction), a = phrases(answer);
  std::vector<std::string> matched;
  std::set_intersection(p.begin(), p.end(), a.begin(), a.end(), std::back_inserter(matched));
  const std::size_t total = p.size() + a.size();
  return total ? 2 * static_cast<double>(matched.size()) / static_cast<double>(total) : 0;
}

// What stands in the last answer block; nothing where there is none.
std::optional<std::string> answer_block(std::string_view text) {
  constexpr std::string_view open = "<answer>", close = "</answer>";
  const std::size_t end = text.rfind(close);
  const std::size_t begin = end == text.npos ? end : text.substr(0, end).rfind(open);
  if (begin == text.npos) return {};
  return normalise(text.substr(begin + open.size(), end - begin - open.size()));
}

double same_block(std::string_view prediction, std::string_view answer) {
  const auto p = answer_block(prediction), a = answer_block(answer);
  return p && a && *p == *a;
}

bool is_text(std::string_view answer) { return !normalise(answer).empty(); }

}  // namespace

std::string normalise(std::string_view text) {
  std::string out;
  bool gap = false;
  for (const char c : text) {
    if (blank(c)) {
      gap = !out.empty();
      continue;
    }
    if (gap) out += ' ';
    gap = false;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

const std::vector<Scorer>& scorers() {
  static const std::vector<Scorer> table = {
      {"exact", exact, is_text},
      {"number", same_number, [](std::string_view answer) { return number(answer).has_value(); }},
      {"iou", iou, [](std::string_view answer) { return corners(answer).has_value(); }},
      {"phrase_f1", phrase_f1, [](std::string_view answer) { return !phrases(answer).empty(); }},
      {"answer_block", same_block, [](std::string_view answer) { return !answer_block(answer).value_or("").empty(); }},
  };
  return table;
}

const Scorer& scorer_named(std::string_view name, const std::string& where) {
  std::vector<std::string> names;
  for (const Scorer& s : scorers()) {
    if (s.name == name) return s;
    names.emplace_back(s.name);
  }
  input_error(where, ": unknown scorer '", name, "'", did_you_mean(name, names));
}

}  // namespace ov
