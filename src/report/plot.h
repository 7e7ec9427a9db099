// Plots as inline SVG: lines over a number line, and bars. Colours, fonts and the dark variant come from the page's
// style sheet (report/style.h): lines are of class s1 .. s5, in the order of the series.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace ov {

struct Series {
  std::string name;
  std::vector<double> x, y;  // of equal length, x ascending; where y is not finite the line has a gap
  bool faint = false;        // raw values behind a smoothed line: drawn as the range within each pixel
};

struct PlotOptions {
  std::string title = {}, x_label = {};
  int width = 460, height = 230;  // of the viewBox; the page scales it
  bool log_y = false;             // values of at most 0 are gaps then
  bool from_zero = false;         // the y axis begins at 0
};

// Series without a single finite value give an empty frame that says so. The caption under the title names the series
// when there are several that are not faint.
std::string line_plot(const std::vector<Series>& series, const PlotOptions& options);

// Bar k stands for values from first + k · width up to first + (k + 1) · width.
std::string bar_plot(double first, double width, const std::vector<double>& counts, const PlotOptions& options);

// Numbers of the form {1, 2, 5} · 10^k, evenly spaced, that lie in [low, high]: `about` of them, at least two when
// low < high. A range that is empty or not finite gives none.
std::vector<double> ticks(double low, double high, int about);
// The same for a logarithmic axis, 0 < low <= high: powers of ten, with 2 and 5 between where there are fewer than
// three of them; over less than a factor of two, as ticks().
std::vector<double> log_ticks(double low, double high);
// The shortest decimal or exponent form: 0.002, 150, 12k, 3.2M, 1e-05.
std::string short_number(double value);

// The mean over the finite values within `reach` of each place; not finite where there are none.
std::vector<double> smoothed(const std::vector<double>& y, std::int64_t reach);

}  // namespace ov
