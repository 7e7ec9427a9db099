// Axes and lines of the report's plots, at the edges: constants, gaps, nothing at all.
#include "report/plot.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "base/error.h"

using namespace ov;

namespace {

const double nan_ = std::numeric_limits<double>::quiet_NaN(), inf_ = std::numeric_limits<double>::infinity();

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != text.npos; at = text.find(what, at + what.size())) ++n;
  return n;
}

std::vector<std::string> shown(const std::vector<double>& values) {
  std::vector<std::string> out;
  for (const double v : values) out.push_back(short_number(v));
  return out;
}
using Labels = std::vector<std::string>;

}  // namespace

TEST_CASE("plot: ticks are round, inside the range, and few") {
  CHECK(shown(ticks(0, 10, 5)) == Labels{"0", "2", "4", "6", "8", "10"});
  CHECK(shown(ticks(0, 1, 5)) == Labels{"0", "0.2", "0.4", "0.6", "0.8", "1"});
  CHECK(shown(ticks(-3, 4, 5)) == Labels{"-2", "0", "2", "4"});
  CHECK(shown(ticks(1, 5276, 6)) == Labels{"1000", "2000", "3000", "4000", "5000"});
  for (const double low : {-7.0, 0.0, 1e-6, 3.3, 99.0})
    for (const double span : {1e-7, 0.03, 1.0, 12345.0}) {
      const auto t = ticks(low, low + span, 5);
      CHECK(t.size() >= 2);
      CHECK(t.size() <= 12);
      for (const double v : t) CHECK((v >= low - 1e-3 * span && v <= low + 1.001 * span));
      for (std::size_t i = 1; i < t.size(); ++i) CHECK(t[i] > t[i - 1]);
    }
}

TEST_CASE("plot: a range without extent or without numbers has no ticks to mislead") {
  CHECK(ticks(2, 2, 5) == std::vector<double>{2});
  CHECK(ticks(3, 2, 5).empty());
  CHECK(ticks(nan_, 2, 5).empty());
  CHECK(ticks(0, inf_, 5).empty());
  CHECK(log_ticks(0, 10).empty());
  CHECK(log_ticks(1, nan_).empty());
}

TEST_CASE("plot: logarithmic ticks are powers of ten, with 2 and 5 where those are few") {
  CHECK(shown(log_ticks(1e-3, 10)) == Labels{"0.001", "0.01", "0.1", "1", "10"});
  CHECK(shown(log_ticks(1, 30)) == Labels{"1", "2", "5", "10", "20"});
  CHECK(shown(log_ticks(3, 5)) == Labels{"3", "3.5", "4", "4.5", "5"});
  CHECK(log_ticks(1e-30, 1).size() <= 9);
}

TEST_CASE("plot: numbers are short and never wrong by more than their last digit") {
  CHECK(shown({0, 12, 0.002, 12000, 3.2e6, 3.15e13, 1e-5, -1500}) ==
        Labels{"0", "12", "0.002", "12k", "3.2M", "31.5T", "1e-05", "-1500"});
  CHECK(short_number(nan_) == "–");
}

TEST_CASE("plot: smoothing passes over what is not finite and keeps a constant") {
  CHECK(smoothed({1, 2, 3, 4}, 0) == std::vector<double>{1, 2, 3, 4});
  CHECK(smoothed({1, 2, 6}, 1) == std::vector<double>{1.5, 3, 4});
  CHECK(smoothed({1, nan_, 3}, 1) == std::vector<double>{1, 2, 3});
  CHECK(std::isnan(smoothed({nan_, nan_}, 5)[0]));
  CHECK(smoothed({}, 3).empty());
}

TEST_CASE("plot: nothing to draw gives a frame that says so, and never a NaN in the picture") {
  for (const Series& s : {Series{"a", {}, {}}, Series{"a", {1, 2}, {nan_, inf_}}}) {
    const std::string svg = line_plot({s}, {.title = "loss"});
    CHECK(count(svg, "no finite values") == 1);
    CHECK(count(svg, "<path") == 0);
  }
  CHECK(count(line_plot({}, {.title = "loss"}), "no finite values") == 1);
  CHECK(count(line_plot({{"a", {1, 2}, {-1, 0}}}, {.title = "loss", .log_y = true}), "no finite values") == 1);
  CHECK(count(bar_plot(0, 1, {}, {.title = "bars"}), "no finite values") == 1);
}

TEST_CASE("plot: constants lie in the middle of their frame") {
  for (const double v : {0.0, 5.0, -3.0, 1e-300}) {
    const std::string svg = line_plot({{"a", {1, 2, 3}, {v, v, v}}}, {.title = "t"});
    // Frame from 34 to 190 of 230.
    CHECK(count(svg, " 112.0") == 3);
    CHECK((count(svg, "nan") == 0 && count(svg, "inf") == 0));
  }
  CHECK(count(line_plot({{"a", {1, 2}, {4, 4}}}, {.title = "t", .log_y = true}), " 112.0") == 2);
  const std::string one = line_plot({{"a", {7}, {4}}}, {.title = "t"});
  CHECK(count(one, "<circle") == 1);  // a single step is a point
}

TEST_CASE("plot: a gap breaks the line and is not bridged") {
  std::vector<double> x, y;
  for (int i = 0; i < 20; ++i) x.push_back(i), y.push_back(i);
  CHECK(count(line_plot({{"a", x, y}}, {.title = "t"}), "M") == 1);
  y[10] = nan_;
  CHECK(count(line_plot({{"a", x, y}}, {.title = "t"}), "M") == 2);
}

TEST_CASE("plot: thousands of steps become at most two points a pixel, and the peak among them stays") {
  std::vector<double> x, y;
  for (int i = 0; i < 50000; ++i) x.push_back(i), y.push_back(i == 31234 ? 9 : i % 2);
  const std::string svg = line_plot({{"raw", x, y, true}, {"mean", x, smoothed(y, 500)}}, {.title = "t"});
  CHECK(svg.size() < 30000);
  CHECK(svg.find(" 34.0") != svg.npos);  // the top of the frame
}

TEST_CASE("plot: bars are as many as there are counts above zero, each as high as its count") {
  const std::string svg = bar_plot(10, 5, {1, 0, 4}, {.title = "t"});
  CHECK(count(svg, "<rect") == 2);
  CHECK(count(svg, "height=\"156.0\"") == 1);
  CHECK(count(svg, "height=\"39.0\"") == 1);
  CHECK(count(svg, "<title>20: 4</title>") == 1);
}

TEST_CASE("plot: x and y of different lengths are refused") {
  CHECK_THROWS_WITH_AS(line_plot({{"a", {1, 2}, {1}}}, {.title = "loss"}), "plot 'loss': 2 x and 1 y values", Error);
}
