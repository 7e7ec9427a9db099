// bbox: intersection over union of the first bracketed list of numbers on either side, when both hold four. No scale is
// converted and no corner put in order: an inverted box has a negative area, and areas that cancel make the original
// divide by zero. bbox-bare, ours: the answer is four numbers and nothing else, as the toy world writes boxes.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "rl/verifiers/verifier.h"
#include "text/pattern.h"

namespace ov::rl {
namespace {

using Box = std::array<double, 4>;  // x0 y0 x1 y1

// The first list; nothing when there is none, or when it has not four numbers.
std::optional<Box> first_list(View text, Text* found) {
  static const std::string number = R"([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)";
  static const Pattern list(R"(\[\s*)" + number + R"((?:\s*,\s*)" + number + R"()*\s*\])");
  const auto m = list.search(text);
  if (!m) return std::nullopt;
  if (found) *found = *m->groups[0];
  const View inside = m->groups[0]->substr(1, m->groups[0]->size() - 2);
  const auto parts = fields(inside, U',');
  if (parts.size() != 4) return std::nullopt;
  Box box;
  for (std::size_t i = 0; i < 4; ++i) box[i] = std::strtod(ascii(trim(parts[i])).c_str(), nullptr);
  return box;
}

// The whole text as four numbers between commas.
std::optional<Box> four_numbers(View text) {
  static const std::string number = R"(\s*([-+]?\d*\.?\d+)\s*)";
  static const Pattern four("^" + number + "," + number + "," + number + "," + number + "$");
  const auto m = four.search(text);
  if (!m) return std::nullopt;
  Box box;
  for (std::size_t i = 0; i < 4; ++i) box[i] = std::strtod(ascii(*m->groups[i + 1]).c_str(), nullptr);
  return box;
}

double positive(double x) { return x > 0 ? x : 0; }
double area(const Box& b) { return (b[2] - b[0]) * (b[3] - b[1]); }

double iou(const Box& p, const Box& g) {
  const double inter =
      positive(std::min(p[2], g[2]) - std::max(p[0], g[0])) * positive(std::min(p[3], g[3]) - std::max(p[1], g[1]));
  const double all = area(p) + area(g) - inter;
  if (all == 0) throw Raised("the areas of the two boxes cancel: a division by zero");
  const double r = inter / all;
  if (!std::isfinite(r)) throw Raised("the overlap of the two boxes is not a finite number");
  return r;
}

}  // namespace

Verdict verify_box(const Text& completion, const Gold& gold) {
  Verdict v;
  const auto p = first_list(last_answer(completion).value_or(U""), &v.extracted), g = first_list(gold.one(), nullptr);
  if (p && g) v.reward = iou(*p, *g);
  return v;
}

// An inverted box covers nothing.
double iou_upright(const std::optional<Box>& p, const std::optional<Box>& g) {
  return p && g && (*p)[0] < (*p)[2] && (*p)[1] < (*p)[3] && area(*g) > 0 ? iou(*p, *g) : 0;
}

Verdict verify_box_strict(const Text& completion, const Gold& gold) {
  Verdict v;
  const auto p = first_list(last_answer(completion).value_or(U""), &v.extracted);
  v.reward = iou_upright(p, first_list(gold.one(), nullptr));
  return v;
}

Verdict verify_box_bare(const Text& completion, const Gold& gold) {
  Verdict v;
  v.extracted = last_answer(completion).value_or(U"");
  v.reward = iou_upright(four_numbers(v.extracted), four_numbers(gold.one()));
  return v;
}

}  // namespace ov::rl
