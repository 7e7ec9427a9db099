#include "comm/bridge.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/clock.h"

namespace ov {
namespace {

constexpr double last_words = 2;  // seconds for the others to learn of a failure
constexpr std::size_t at_a_time = 256 << 10;

}  // namespace

Bridge::Bridge(const SharedRegion& region, int ranks, std::vector<int> here, std::vector<OtherMachine> machines,
               int bell, double timeout)
    : region_(region), here_(std::move(here)), bell_(bell), timeout_(timeout) {
  for (OtherMachine& m : machines) {
    ::fcntl(m.connection.get(), F_SETFL, ::fcntl(m.connection.get(), F_GETFL) | O_NONBLOCK);
    lines_.push_back({std::move(m.connection), m.address, Link(region, ranks, here_, std::move(m.ranks))});
  }
  thread_ = std::thread([this] { run(); });
}

Bridge::~Bridge() {
  ending_.store(true);
  region_.wake_bridge();
  thread_.join();
}

void Bridge::run() {
  std::vector<std::byte> room(at_a_time);
  const double between = std::min(0.2, timeout_ / 8);  // seconds: how old calls and steps may be
  double told = 0, deadline = 0;
  for (;;) {
    const std::uint32_t seen = region_.bell(region_.bridge_end());
    const double now = monotonic_seconds();
    const bool states = now >= told + between;
    if (states) told = now;
    if (ending_.load() && at_end(&deadline)) return;
    bool busy = false;
    for (Line& l : lines_)
      if (l.open) l.link.fill(states), busy = send(l) || busy;
    region_.bridge_listens(!busy);
    if (region_.bell(region_.bridge_end()) != seen) busy = true;  // rung before anybody listened
    std::vector<pollfd> fds = {{bell_, POLLIN, 0}};
    for (const Line& l : lines_)
      fds.push_back(
          {l.open ? l.socket.get() : -1, static_cast<short>(l.link.out().empty() ? POLLIN : POLLIN | POLLOUT), 0});
    ::poll(fds.data(), fds.size(), busy ? 0 : static_cast<int>(between * 1000));
    region_.bridge_listens(false);
    std::uint64_t rung;
    if (fds[0].revents != 0) [[maybe_unused]]
      const auto read = ::read(bell_, &rung, sizeof rung);
    for (std::size_t i = 0; i < lines_.size(); ++i)
      if (fds[1 + i].revents & ~POLLOUT) receive(lines_[i], room);
  }
}

bool Bridge::send(Line& line) {
  bool any = false;
  while (!line.link.out().empty()) {
    const std::span<const std::byte> out = line.link.out();
    const ssize_t n = ::send(line.socket.get(), out.data(), out.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return any;
    any = n > 0;
    line.link.sent(n < 0 ? out.size() : static_cast<std::size_t>(n));  // nobody is there: receive() finds it
    if (out.size() != static_cast<std::size_t>(n)) return any;
  }
  return any;
}

void Bridge::receive(Line& line, std::vector<std::byte>& room) {
  const ssize_t n = ::recv(line.socket.get(), room.data(), room.size(), 0);
  if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)) return;
  if (n <= 0) {
    if (!line.link.farewell() && !line.link.heard()) broke_off(line);
    return close(line);
  }
  try {
    line.link.take(std::span(room).first(static_cast<std::size_t>(n)));
  } catch (const Error& e) {
    region_.fail(line.link.there()[0], here_[0], e.exit(), e.what());
    close(line);
  }
}

void Bridge::close(Line& line) {
  line.open = false;
  line.socket = Descriptor();
}

void Bridge::broke_off(const Line& line) const {
  for (const int r : line.link.there()) {
    const RankState& s = region_.state(r);
    if (s.left.load() || s.lost.load()) continue;
    if (s.expendable.load()) {
      region_.lose(r);
      for (const int h : here_) region_.end(r, h);
    } else {
      region_.mourn(r, here_[0],
                    cat("rank ", r, " ended without a word in step ", s.step.load(),
                        ": the connection to its machine, ", line.address, ", broke off"));
    }
  }
}

// Whether nothing more is to be done. Farewells are said here.
bool Bridge::at_end(double* deadline) {
  const bool failed = region_.failure().rank >= 0;
  if (!failed && !region_.state(here_[0]).left.load()) return true;
  const bool all_left = std::all_of(here_.begin(), here_.end(), [&](int r) {
    const RankState& s = region_.state(r);
    return s.left.load() || s.lost.load();
  });
  if (!failed && !all_left) return false;
  const double end = monotonic_seconds() + (failed ? last_words : timeout_);
  *deadline = *deadline == 0 ? end : std::min(*deadline, end);
  bool done = true;
  for (Line& l : lines_) {
    if (!l.open) continue;
    if (l.link.heard()) {
      close(l);
      continue;
    }
    done = false;
    if (!failed && !l.link.drained()) continue;
    l.link.fill(true);
    l.link.say_farewell();
  }
  return done || monotonic_seconds() > *deadline;
}

}  // namespace ov
