#include "comm/meeting.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <thread>
#include <utility>

#include "comm/shared_region.h"

namespace ov {

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

namespace {

using Clock = std::chrono::steady_clock;

struct Hello {
  std::uint32_t magic = 0x6f763031;  // "ov01"
  std::int32_t rank = 0, ranks = 0;
};

// Empty: welcome, and the memory's descriptor comes with it.
struct Answer {
  char refusal[512] = {};
};

struct Address {
  sockaddr_un address{};
  socklen_t length;
  explicit Address(const std::string& job) {
    const std::string name = cat("onevision/", ::getuid(), "/", job);
    if (name.size() + 1 > sizeof address.sun_path) input_error("ranks: the job's name is too long: ", job);
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

Descriptor new_socket() {
  Descriptor fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) machine_error("ranks: no socket: ", std::strerror(errno));
  return fd;
}

int milliseconds_left(Clock::time_point end) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left + 1, 0, 1 << 30));
}

bool of_this_user(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == ::getuid();
}

bool answer(int fd, const std::string& refusal, int memory = -1) {
  Answer a;
  std::strncpy(a.refusal, refusal.c_str(), sizeof a.refusal - 1);
  iovec data{&a, sizeof a};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (memory >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(c), &memory, sizeof memory);
  }
  return ::sendmsg(fd, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof a);
}

std::string waited(double seconds) { return cat(" within ", seconds, " s (comm.timeout)"); }

Meeting receive_all(const RankInJob& place, double seconds) {
  const Address address(place.job);
  const Descriptor door = new_socket();
  if (::bind(door.get(), address.get(), address.length) != 0) {
    if (errno == EADDRINUSE) input_error("ranks: two processes are rank 0 (", place.source, ")");
    machine_error("ranks: no place to meet: ", std::strerror(errno));
  }
  if (::listen(door.get(), place.ranks) != 0) machine_error("ranks: no place to meet: ", std::strerror(errno));

  Meeting m{Descriptor(SharedRegion::create(place.ranks)),
            std::vector<Descriptor>(static_cast<std::size_t>(place.ranks))};
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  std::vector<Descriptor> guests;  // who have not said who they are
  for (int missing = place.ranks - 1; missing > 0;) {
    std::vector<pollfd> fds = {{door.get(), POLLIN, 0}};
    for (const Descriptor& d : guests) fds.push_back({d.get(), POLLIN, 0});
    for (const Descriptor& d : m.peers) fds.push_back({d.get(), POLLIN, 0});  // -1: poll passes over it
    const int ready = ::poll(fds.data(), fds.size(), milliseconds_left(end));
    if (ready < 0 && errno != EINTR) machine_error("ranks: poll: ", std::strerror(errno));
    if (ready == 0) {
      std::string names;
      for (int r = 1; r < place.ranks; ++r)
        if (m.peers[static_cast<std::size_t>(r)].get() < 0) names += cat(names.empty() ? "" : ", ", r);
      machine_error("rank 0: rank ", names, " of ", place.ranks, " (", place.source, ") did not come", waited(seconds));
    }
    if (ready < 0) continue;
    for (std::size_t r = 1; r < m.peers.size(); ++r)
      if (fds[1 + guests.size() + r].revents != 0)
        machine_error("rank ", r, " ended before all ", place.ranks, " ranks had met");
    std::vector<Descriptor> still;
    for (std::size_t g = 0; g < guests.size(); ++g) {
      if (fds[1 + g].revents == 0) {
        still.push_back(std::move(guests[g]));
        continue;
      }
      Hello hello;
      if (::recv(guests[g].get(), &hello, sizeof hello, MSG_DONTWAIT) != static_cast<ssize_t>(sizeof hello) ||
          hello.magic != Hello().magic)
        continue;  // nobody of ours
      std::string wrong;
      if (hello.ranks != place.ranks)
        wrong = cat("rank ", hello.rank, " says there are ", hello.ranks, " ranks, rank 0 ", place.ranks);
      else if (hello.rank <= 0 || hello.rank >= place.ranks || m.peers[static_cast<std::size_t>(hello.rank)].get() >= 0)
        wrong = cat("two processes are rank ", hello.rank);
      if (!wrong.empty()) {
        answer(guests[g].get(), cat("ranks: ", wrong, " (", place.source, ")"));
        input_error("ranks: ", wrong, " (", place.source, ")");
      }
      m.peers[static_cast<std::size_t>(hello.rank)] = std::move(guests[g]);
      --missing;
    }
    guests = std::move(still);
    if (fds[0].revents != 0) {
      Descriptor guest(::accept4(door.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (guest.get() >= 0 && of_this_user(guest.get())) guests.push_back(std::move(guest));
    }
  }
  for (std::size_t r = 1; r < m.peers.size(); ++r)
    if (!answer(m.peers[r].get(), "", m.memory.get()))
      machine_error("rank ", r, " ended before all ", place.ranks, " ranks had met");
  return m;
}

Meeting go_to_rank_0(const RankInJob& place, double seconds) {
  const Address address(place.job);
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  Descriptor fd = new_socket();
  while (::connect(fd.get(), address.get(), address.length) != 0) {
    if (errno != ECONNREFUSED && errno != ENOENT && errno != EAGAIN && errno != EINTR)
      machine_error("rank ", place.rank, ": cannot reach rank 0: ", std::strerror(errno));
    if (milliseconds_left(end) == 0)
      machine_error("rank ", place.rank, ": rank 0 of ", place.ranks, " (", place.source, ") did not come",
                    waited(seconds));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (!of_this_user(fd.get())) machine_error("rank ", place.rank, ": rank 0 is another user's process");
  Hello hello;
  hello.rank = place.rank, hello.ranks = place.ranks;
  if (::send(fd.get(), &hello, sizeof hello, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof hello))
    machine_error("rank ", place.rank, ": rank 0 ended before the ranks had met");
  pollfd waiting{fd.get(), POLLIN, 0};
  int ready;
  do ready = ::poll(&waiting, 1, milliseconds_left(end));
  while (ready < 0 && errno == EINTR);
  if (ready == 0)
    machine_error("rank ", place.rank, ": not all of ", place.ranks, " ranks (", place.source, ") came",
                  waited(seconds));

  Answer a;
  iovec data{&a, sizeof a};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = ::recvmsg(fd.get(), &message, MSG_CMSG_CLOEXEC);
  if (got != static_cast<ssize_t>(sizeof a))
    machine_error("rank ", place.rank, ": rank 0 ended before the ranks had met");
  a.refusal[sizeof a.refusal - 1] = '\0';
  if (a.refusal[0]) input_error(a.refusal);
  const cmsghdr* c = CMSG_FIRSTHDR(&message);
  if (!c || c->cmsg_type != SCM_RIGHTS) machine_error("rank ", place.rank, ": rank 0 sent no memory");
  int memory;
  std::memcpy(&memory, CMSG_DATA(c), sizeof memory);
  Meeting m{Descriptor(memory), std::vector<Descriptor>(static_cast<std::size_t>(place.ranks))};
  m.peers[0] = std::move(fd);
  return m;
}

}  // namespace

Meeting meet(const RankInJob& place, double seconds) {
  return place.rank == 0 ? receive_all(place, seconds) : go_to_rank_0(place, seconds);
}

}  // namespace ov
