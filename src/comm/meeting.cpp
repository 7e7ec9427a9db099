#include "comm/meeting.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "base/sha256.h"
#include "comm/shared_region.h"

namespace ov {

namespace {

using Clock = std::chrono::steady_clock;

struct Hello {
  std::uint32_t magic = 0x6f763032;  // "ov02"
  std::int32_t rank = 0, ranks = 0, rank_here = 0, ranks_here = 0;
};

// Empty: welcome, and the descriptors of the memory, and of the bell if there is one, come with it.
struct Answer {
  std::int32_t first = 0, exit = 0;  // first: the rank that says it
  char refusal[longest_message + 1] = {};
};

struct Address {
  sockaddr_un address{};
  socklen_t length;
  explicit Address(const std::string& job) {
    const std::string place = cat("onevision/", ::getuid(), "/");
    // A name that is longer than an address can be, as torchrun's are of a long id and host, stands for itself by its
    // digest.
    const bool fits = place.size() + job.size() + 1 <= sizeof address.sun_path;
    const std::string name = place + (fits ? job : sha256(job));
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

using Memory = std::array<int, 2>;  // and the bell; -1: none

bool answer(int fd, int first, const std::optional<Error>& refusal, const Memory& memory = {-1, -1}) {
  Answer a;
  a.first = first;
  if (refusal) {
    a.exit = static_cast<std::int32_t>(refusal->exit());
    std::strncpy(a.refusal, refusal->what(), sizeof a.refusal - 1);
  }
  iovec data{&a, sizeof a};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(Memory))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (const std::size_t bytes = sizeof(int) * static_cast<std::size_t>((memory[0] >= 0) + (memory[1] >= 0))) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(bytes);
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(c), memory.data(), bytes);
  }
  return ::sendmsg(fd, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof a);
}

// Of those here that have not come nothing else is known.
std::string said_of(int rank_here, const RankInJob& place) {
  return place.share ? cat("local rank ", rank_here) : cat("rank ", rank_here);
}

std::string waited(double seconds) { return cat(" within ", seconds, " s (comm.timeout)"); }

// Why a guest cannot be one of the ranks here, of which `members` and `ranks` have come; empty: it can.
std::string wrong_with(const Hello& hello, const RankInJob& place, const std::vector<Descriptor>& members,
                       const std::vector<int>& ranks) {
  const int n = place.ranks_here();
  if (hello.ranks != place.ranks)
    return cat("rank ", hello.rank, " says there are ", hello.ranks, " ranks, rank ", place.rank, " ", place.ranks);
  if (hello.ranks_here != n)
    return cat("rank ", hello.rank, " says there are ", hello.ranks_here, " ranks here, rank ", place.rank, " ", n);
  if (hello.rank < 0 || hello.rank >= place.ranks)
    return cat("a process says it is rank ", hello.rank, " of ", place.ranks, ": they count from 0");
  if (hello.rank_here < 0 || hello.rank_here >= n)
    return cat("rank ", hello.rank, " says it is local rank ", hello.rank_here, " of ", n, ": they count from 0");
  if (hello.rank_here == 0 || members[static_cast<std::size_t>(hello.rank_here)].get() >= 0)
    return cat("two processes are ", said_of(hello.rank_here, place));
  if (std::find(ranks.begin(), ranks.end(), hello.rank) != ranks.end())
    return cat("two processes are rank ", hello.rank);
  return "";
}

// At the first rank here: the others, by their order here.
std::vector<Descriptor> receive_ranks(const RankInJob& place, Clock::time_point end, double seconds,
                                      std::vector<int>* ranks) {
  const Address address(place.job);
  const Descriptor door = new_socket();
  if (::bind(door.get(), address.get(), address.length) != 0) {
    if (errno == EADDRINUSE) input_error("ranks: two processes are ", said_of(0, place), " (", place.source, ")");
    machine_error("ranks: no place to meet: ", std::strerror(errno));
  }
  const auto n = static_cast<std::size_t>(place.ranks_here());
  if (::listen(door.get(), place.ranks_here()) != 0) machine_error("ranks: no place to meet: ", std::strerror(errno));

  std::vector<Descriptor> members(n), guests;  // guests: who have not said who they are
  ranks->assign(n, -1);
  (*ranks)[0] = place.rank;
  for (std::size_t missing = n - 1; missing > 0;) {
    std::vector<pollfd> fds = {{door.get(), POLLIN, 0}};
    for (const Descriptor& d : guests) fds.push_back({d.get(), POLLIN, 0});
    for (const Descriptor& d : members) fds.push_back({d.get(), POLLIN, 0});  // -1: poll passes over it
    const int ready = ::poll(fds.data(), fds.size(), milliseconds_left(end));
    if (ready < 0 && errno != EINTR) machine_error("ranks: poll: ", std::strerror(errno));
    if (ready == 0) {
      std::string names;
      for (std::size_t r = 1; r < n; ++r)
        if (members[r].get() < 0) names += cat(names.empty() ? "" : ", ", r);
      machine_error("rank ", place.rank, ": ", place.share ? "local " : "", "rank ", names, " of ", n, " (",
                    place.source, ") did not come", waited(seconds));
    }
    if (ready < 0) continue;
    for (std::size_t r = 1; r < n; ++r)
      if (fds[1 + guests.size() + r].revents != 0)
        machine_error("rank ", (*ranks)[r], " ended before all ", place.ranks, " ranks had met");
    std::vector<Descriptor> still;
    for (std::size_t g = 0; g < guests.size(); ++g) {
      if (fds[1 + g].revents == 0) {
        still.push_back(std::move(guests[g]));
        continue;
      }
      Hello hello;
      if (::recv(guests[g].get(), &hello, sizeof hello, MSG_DONTWAIT | MSG_TRUNC) !=
              static_cast<ssize_t>(sizeof hello) ||
          hello.magic != Hello().magic)
        continue;  // nobody of ours
      const std::string wrong = wrong_with(hello, place, members, *ranks);
      if (!wrong.empty()) {
        const Error refusal(Exit::wrong_input, cat("ranks: ", wrong, " (", place.source, ")"));
        answer(guests[g].get(), place.rank, refusal);
        throw refusal;
      }
      const auto r = static_cast<std::size_t>(hello.rank_here);
      members[r] = std::move(guests[g]), (*ranks)[r] = hello.rank;
      --missing;
    }
    guests = std::move(still);
    if (fds[0].revents != 0) {
      Descriptor guest(::accept4(door.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (guest.get() >= 0 && of_this_user(guest.get())) guests.push_back(std::move(guest));
    }
  }
  return members;
}

Meeting receive_all(const RankInJob& place, double seconds) {
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  Meeting m{};
  std::vector<Descriptor> members = receive_ranks(place, end, seconds, &m.here);
  m.memory = Descriptor(SharedRegion::create(place.ranks));
  if (place.share) try {
      m.machines = meet_machines(place, m.here, seconds);
      m.bell = Descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
      if (m.bell.get() < 0) machine_error("ranks: no eventfd: ", std::strerror(errno));
      const SharedRegion region(m.memory.get(), place.ranks);
      for (const OtherMachine& other : m.machines)
        for (const int r : other.ranks) region.state(r).away.store(1);
    } catch (const Error& e) {
      for (std::size_t r = 1; r < members.size(); ++r) answer(members[r].get(), place.rank, e);
      throw;
    }
  m.peers.resize(static_cast<std::size_t>(place.ranks));
  for (std::size_t r = 1; r < members.size(); ++r) {
    if (!answer(members[r].get(), place.rank, {}, {m.memory.get(), m.bell.get()}))
      machine_error("rank ", m.here[r], " ended before all ", place.ranks, " ranks had met");
    m.peers[static_cast<std::size_t>(m.here[r])] = std::move(members[r]);
  }
  return m;
}

// Where the first rank here is, said of it by one that does not know which of the job's it is.
std::string first_of(const RankInJob& place) { return place.share ? "local rank 0" : "rank 0"; }

Meeting go_to_first(const RankInJob& place, double seconds) {
  const Address address(place.job);
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  Descriptor fd = new_socket();
  while (::connect(fd.get(), address.get(), address.length) != 0) {
    if (errno != ECONNREFUSED && errno != ENOENT && errno != EAGAIN && errno != EINTR)
      machine_error("rank ", place.rank, ": cannot reach ", first_of(place), ": ", std::strerror(errno));
    if (milliseconds_left(end) == 0)
      machine_error("rank ", place.rank, ": ", first_of(place), " of ", place.ranks_here(), " (", place.source,
                    ") did not come", waited(seconds));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (!of_this_user(fd.get())) machine_error("rank ", place.rank, ": ", first_of(place), " is another user's process");
  Hello hello;
  hello.rank = place.rank, hello.ranks = place.ranks;
  hello.rank_here = place.rank_here(), hello.ranks_here = place.ranks_here();
  if (::send(fd.get(), &hello, sizeof hello, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof hello))
    machine_error("rank ", place.rank, ": ", first_of(place), " ended before the ranks had met");
  pollfd waiting{fd.get(), POLLIN, 0};
  int ready;
  // The first, which says who is missing on other machines, may wait for longer.
  do ready = ::poll(&waiting, 1, milliseconds_left(end + std::chrono::seconds(place.share ? 4 : 0)));
  while (ready < 0 && errno == EINTR);
  if (ready == 0)
    machine_error("rank ", place.rank, ": not all of ", place.ranks, " ranks (", place.source, ") came",
                  waited(seconds));

  Answer a;
  iovec data{&a, sizeof a};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(Memory))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = ::recvmsg(fd.get(), &message, MSG_CMSG_CLOEXEC);
  if (got != static_cast<ssize_t>(sizeof a))
    machine_error("rank ", place.rank, ": ", first_of(place), " ended before the ranks had met");
  a.refusal[sizeof a.refusal - 1] = '\0';
  if (a.refusal[0]) throw Error(static_cast<Exit>(a.exit), a.refusal);
  const cmsghdr* c = CMSG_FIRSTHDR(&message);
  if (!c || c->cmsg_type != SCM_RIGHTS) machine_error("rank ", place.rank, ": ", first_of(place), " sent no memory");
  Memory memory = {-1, -1};
  std::memcpy(memory.data(), CMSG_DATA(c), std::min(sizeof memory, c->cmsg_len - CMSG_LEN(0)));
  Meeting m{};
  m.memory = Descriptor(memory[0]), m.bell = Descriptor(memory[1]);
  m.peers.resize(static_cast<std::size_t>(place.ranks));
  m.peers[static_cast<std::size_t>(a.first)] = std::move(fd);
  return m;
}

}  // namespace

Meeting meet(const RankInJob& place, double seconds) {
  return place.rank_here() == 0 ? receive_all(place, seconds) : go_to_first(place, seconds);
}

}  // namespace ov
