#include "base/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iomanip>

#include "base/error.h"

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

Progress::Progress(std::string what, std::int64_t total, std::string unit, std::int64_t done)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(total),
      first_(done),
      done_(done),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(Clock::now()),
      drawn_(start_) {}

Progress::~Progress() { finish(); }

void Progress::update(std::int64_t done, const std::string& note) {
  done_ = done;
  note_ = note;
  if (done >= total_) finish();
  else if (seconds_since(drawn_) >= (terminal_ ? 0.1 : 10.0)) draw(false);
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  draw(true);
}

void Progress::draw(bool last) {
  drawn_ = Clock::now();
  const double elapsed = seconds_since(start_);
  const double rate = elapsed >= 1 ? static_cast<double>(done_ - first_) / elapsed : 0;
  std::string text = cat(what_, " ", done_, "/", total_, " ", unit_);
  if (rate > 0) text += cat("  ", std::setprecision(3), rate, " ", unit_, "/s");
  if (last) text += "  took " + duration(elapsed);
  else if (rate > 0) text += "  ETA " + duration(static_cast<double>(total_ - done_) / rate);
  if (!note_.empty()) text += "  " + note_;
  if (terminal_) {
    constexpr std::int64_t width = 24;
    const std::int64_t full = total_ > 0 ? std::clamp<std::int64_t>(width * done_ / total_, 0, width) : 0;
    std::string bar(static_cast<std::size_t>(full), '=');
    bar.resize(width, ' ');
    std::fprintf(stderr, "\r[%s] %s\x1b[K%s", bar.c_str(), text.c_str(), last ? "\n" : "");
    std::fflush(stderr);
  } else {
    std::fprintf(stderr, "%s\n", text.c_str());
  }
}

void tell(const std::string& line) { std::fprintf(stderr, "onevision: %s\n", line.c_str()); }

}  // namespace ov
