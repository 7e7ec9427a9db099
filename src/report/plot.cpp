#include "report/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "base/error.h"
#include "report/html.h"

namespace ov {
namespace {

using html::Attributes;

constexpr double left = 52, right = 12, top = 34, bottom = 40;  // margins around the frame

std::string px(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", v);
  return text;
}

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
  void add(double v) { low = std::min(low, v), high = std::max(high, v); }
  bool empty() const { return low > high; }
  // A constant gets room around it, so that its line lies in the middle.
  void widen(bool log) {
    if (low < high) return;
    if (log) low /= 1.5, high *= 1.5;
    else low -= std::max(0.5 * std::fabs(low), 1e-12), high += std::max(0.5 * std::fabs(high), 1e-12);
  }
};

// From values to the place in the picture.
struct Axes {
  Axes(const PlotOptions& o, Range x, Range y) : options(o), x(x), y(y) {}

  double x_at(double v) const { return left + (v - x.low) / (x.high - x.low) * (options.width - left - right); }
  double y_at(double v) const {
    const double share =
        options.log_y ? std::log(v / y.low) / std::log(y.high / y.low) : (v - y.low) / (y.high - y.low);
    return options.height - bottom - share * (options.height - top - bottom);
  }
  bool shows(double v) const { return std::isfinite(v) && (!options.log_y || v > 0); }

  const PlotOptions& options;
  Range x, y;
};

std::string line(double x1, double y1, double x2, double y2, const char* kind) {
  return html::empty("line", {{"class", kind}, {"x1", px(x1)}, {"y1", px(y1)}, {"x2", px(x2)}, {"y2", px(y2)}});
}

std::string label(double x, double y, const char* kind, const std::string& text) {
  return html::text("text", {{"class", kind}, {"x", px(x)}, {"y", px(y)}}, text);
}

std::string frame(const Axes& a) {
  const double base = a.options.height - bottom, end = a.options.width - right;
  std::string out;
  for (const double v : a.options.log_y ? log_ticks(a.y.low, a.y.high) : ticks(a.y.low, a.y.high, 5)) {
    out += line(left, a.y_at(v), end, a.y_at(v), "grid");
    out += label(left - 6, a.y_at(v) + 4, "tick right", short_number(v));
  }
  for (const double v : ticks(a.x.low, a.x.high, 6)) {
    out += line(a.x_at(v), base, a.x_at(v), base + 4, "axis");
    out += label(a.x_at(v), base + 17, "tick middle", short_number(v));
  }
  out += line(left, base, end, base, "axis");
  out += label((left + end) / 2, a.options.height - 6, "tick middle", a.options.x_label);
  return out;
}

std::string svg(const PlotOptions& o, const std::string& content) {
  return html::element("svg",
                       {{"xmlns", "http://www.w3.org/2000/svg"},
                        {"viewBox", cat("0 0 ", o.width, " ", o.height)},
                        {"role", "img"},
                        {"aria-label", o.title}},
                       label(0, 14, "title", o.title) + content) +
         "\n";
}

std::string path(const std::string& d, std::size_t number, bool faint) {
  return d.empty() ? "" : html::empty("path", {{"class", cat("s", number, faint ? " faint" : "")}, {"d", d}});
}

// At most two points a pixel: thousands of steps are drawn as fast as hundreds. A faint line is the range of the values
// in its pixel, any other the last of them.
std::string curve(const Axes& a, const Series& s) {
  std::string d;
  bool pen_down = false;
  for (std::size_t i = 0; i < s.x.size();) {
    const double column = std::floor(a.x_at(s.x[i]));
    Range range;
    double last = 0, last_x = 0;
    bool gap = false;
    for (; i < s.x.size() && std::floor(a.x_at(s.x[i])) == column; ++i) {
      if (!a.shows(s.y[i])) {
        gap = true;
        continue;
      }
      range.add(s.y[i]);
      last = s.y[i], last_x = s.x[i];
    }
    if (range.empty()) {
      pen_down = false;
      continue;
    }
    const auto point = [&](double v) { d += cat(pen_down ? "L" : "M", px(a.x_at(last_x)), " ", px(a.y_at(v))); };
    if (s.faint && range.low < range.high) {
      point(range.low);
      pen_down = true;
      point(range.high);
    } else {
      point(last);
    }
    pen_down = !gap;
  }
  return d;
}

// A point between two gaps would be a line without length.
std::string lone_points(const Axes& a, const Series& s, std::size_t number) {
  std::string out;
  const auto shown = [&](std::size_t i) { return i < s.y.size() && a.shows(s.y[i]); };
  for (std::size_t i = 0; i < s.y.size(); ++i)
    if (shown(i) && !shown(i + 1) && (i == 0 || !shown(i - 1)))
      out += html::empty(
          "circle",
          {{"class", cat("p", number)}, {"cx", px(a.x_at(s.x[i]))}, {"cy", px(a.y_at(s.y[i]))}, {"r", "2.5"}});
  return out;
}

std::string empty_plot(const PlotOptions& o) {
  return svg(o, line(left, o.height - bottom, o.width - right, o.height - bottom, "axis") +
                    label(o.width / 2.0, o.height / 2.0, "tick middle", "no finite values"));
}

}  // namespace

std::string line_plot(const std::vector<Series>& series, const PlotOptions& o) {
  Range x, y;
  std::size_t named = 0;
  for (const Series& s : series) {
    if (s.x.size() != s.y.size()) input_error("plot '", o.title, "': ", s.x.size(), " x and ", s.y.size(), " y values");
    for (std::size_t i = 0; i < s.x.size(); ++i)
      if (std::isfinite(s.y[i]) && (!o.log_y || s.y[i] > 0)) x.add(s.x[i]), y.add(s.y[i]);
    named += !s.faint;
  }
  if (x.empty()) return empty_plot(o);
  if (o.from_zero && !o.log_y) y.add(0);
  x.widen(false);
  y.widen(o.log_y);
  const Axes axes(o, x, y);

  std::string out = frame(axes), legend;
  std::size_t number = 0;
  double at = o.width - right;  // names stand to the right of the title, the last one outermost
  for (const Series& s : series) number += !s.faint;
  for (auto s = series.rbegin(); s != series.rend(); ++s) {
    if (s->faint || named < 2) continue;
    at -= 6.2 * static_cast<double>(s->name.size());
    legend += label(at, 14, "tick", s->name);
    legend +=
        html::empty("path", {{"class", cat("s", number)}, {"d", cat("M", px(at - 18), " 10L", px(at - 5), " 10")}});
    --number;
    at -= 28;
  }
  number = 0;
  for (const Series& s : series) {
    const std::size_t colour = s.faint ? number + 1 : ++number;  // a faint series lies behind the one that follows it
    out += path(curve(axes, s), colour, s.faint) + lone_points(axes, s, colour);
  }
  return svg(o, out + legend);
}

std::string bar_plot(double first, double width, const std::vector<double>& counts, const PlotOptions& o) {
  Range x, y;
  for (const double c : counts)
    if (std::isfinite(c)) y.add(c);
  if (counts.empty() || y.empty() || !(width > 0)) return empty_plot(o);
  x = {first, first + width * static_cast<double>(counts.size())};
  y.add(0);
  if (y.high == 0) y.high = 1;
  const Axes axes(o, x, y);
  std::string out = frame(axes);
  for (std::size_t k = 0; k < counts.size(); ++k) {
    if (!(counts[k] > 0)) continue;
    const double begin = first + width * static_cast<double>(k), x1 = axes.x_at(begin), x2 = axes.x_at(begin + width);
    const double gap = x2 - x1 > 4 ? 1 : 0;  // a pixel of the page between bars
    out += html::element("rect",
                         {{"class", "bar"},
                          {"x", px(x1 + gap)},
                          {"y", px(axes.y_at(counts[k]))},
                          {"width", px(std::max(1.0, x2 - x1 - gap))},
                          {"height", px(axes.y_at(0) - axes.y_at(counts[k]))}},
                         html::text("title", cat(short_number(begin), ": ", short_number(counts[k]))));
  }
  return svg(o, out);
}

}  // namespace ov
