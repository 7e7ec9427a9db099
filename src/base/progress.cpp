#include "base/progress.h"

#include <unistd.h>

#include <cstdio>

namespace ov {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

std::string duration(double seconds) {
  const auto s = static_cast<long>(seconds + 0.5);
  char text[32];
  if (s < 60) std::snprintf(text, sizeof text, "%lds", s);
  else if (s < 3600) std::snprintf(text, sizeof text, "%ldm%02lds", s / 60, s % 60);
  else std::snprintf(text, sizeof text, "%ldh%02ldm", s / 3600, s / 60 % 60);
  return text;
}

}  // namespace

Progress::Progress(std::string what, std::int64_t total, std::string unit)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(total),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(Clock::now()),
      drawn_(start_) {}

Progress::~Progress() { finish(); }

void Progress::update(std::int64_t done, const std::string& note) {
  if (first_ < 0) first_ = done > 0 ? done - 1 : 0;  // a resumed run does not count what was there
  done_ = done;
  note_ = note;
  if (seconds_since(drawn_) < (terminal_ ? 0.1 : 10.0)) return;
  draw(false);
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  draw(true);
}

void Progress::draw(bool last) {
  drawn_ = Clock::now();
  const double elapsed = seconds_since(start_);
  const double rate = elapsed > 0 ? static_cast<double>(done_ - std::max<std::int64_t>(0, first_)) / elapsed : 0;
  const double left = rate > 0 ? static_cast<double>(total_ - done_) / rate : 0;
  char text[256];
  int n = std::snprintf(text, sizeof text, "%s %lld/%lld %s  %.3g %s/s  %s %s", what_.c_str(),
                        static_cast<long long>(done_), static_cast<long long>(total_), unit_.c_str(), rate,
                        unit_.c_str(), last ? "took" : "ETA", duration(last ? elapsed : left).c_str());
  if (!note_.empty()) n += std::snprintf(text + n, sizeof text - static_cast<std::size_t>(n), "  %s", note_.c_str());
  if (terminal_) {
    constexpr int width = 24;
    const int full = total_ > 0 ? static_cast<int>(width * done_ / total_) : 0;
    std::string bar(width, ' ');
    for (int i = 0; i < full && i < width; ++i) bar[static_cast<std::size_t>(i)] = '=';
    std::fprintf(stderr, "\r[%s] %s\x1b[K%s", bar.c_str(), text, last ? "\n" : "");
    std::fflush(stderr);
  } else {
    std::fprintf(stderr, "%s\n", text);
  }
}

}  // namespace ov
