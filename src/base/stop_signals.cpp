#include "base/stop_signals.h"

namespace ov {
namespace {

volatile std::sig_atomic_t signal_asked = 0, passed_on = 0;

void note(int signal) {
  if (signal_asked) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  signal_asked = signal;
}

}  // namespace

StopSignals::StopSignals() {
  signal_asked = 0;
  passed_on = 0;
  struct sigaction action = {};
  action.sa_handler = note;
  action.sa_flags = SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < signals.size(); ++i) {
    ::sigaction(signals[i], &action, &before_[i]);
    if (before_[i].sa_handler == SIG_IGN) ::sigaction(signals[i], &before_[i], nullptr);
  }
}

StopSignals::~StopSignals() {
  for (std::size_t i = 0; i < signals.size(); ++i) ::sigaction(signals[i], &before_[i], nullptr);
}

const char* StopSignals::name(int signal) {
  return signal == SIGINT ? "SIGINT" : signal == SIGTERM ? "SIGTERM" : "SIGHUP";
}

int StopSignals::asked() { return signal_asked ? signal_asked : passed_on; }

void StopSignals::pass_on(int signal) {
  if (!passed_on) passed_on = signal;
}

}  // namespace ov
