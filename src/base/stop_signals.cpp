#include "base/stop_signals.h"

namespace ov {
namespace {

volatile std::sig_atomic_t signal_asked = 0;

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
  struct sigaction action = {};
  action.sa_handler = note;
  action.sa_flags = SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, &interrupt_);
  ::sigaction(SIGTERM, &action, &terminate_);
}

StopSignals::~StopSignals() {
  ::sigaction(SIGINT, &interrupt_, nullptr);
  ::sigaction(SIGTERM, &terminate_, nullptr);
}

int StopSignals::asked() { return signal_asked; }

}  // namespace ov
