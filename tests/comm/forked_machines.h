// Machines of a job as groups of children of a test, each with a memory of its own, which meet over loopback.
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>

#include <filesystem>

#include "comm/tcp.h"
#include "tests/comm/forked_ranks.h"

namespace ov::test {

// A port that nobody else gets. Rank 0 can listen there as long as this does not.
class FreePort {
 public:
  explicit FreePort(bool v6 = false) : socket_(::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int one = 1;
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    sockaddr_in any{};
    any.sin_family = AF_INET, any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_in6 any6{};
    any6.sin6_family = AF_INET6, any6.sin6_addr = in6addr_loopback;
    bound_ = (v6 ? ::bind(socket_.get(), reinterpret_cast<sockaddr*>(&any6), sizeof any6)
                 : ::bind(socket_.get(), reinterpret_cast<sockaddr*>(&any), sizeof any)) == 0;
  }
  bool bound() const { return bound_; }  // false: the machine has no such loopback
  std::string address() const { return own_end(socket_.get()).said(); }
  bool nobody_listens() const { return ::listen(socket_.get(), 1) == 0; }

 private:
  Descriptor socket_;
  bool bound_;
};

// As many ranks as each machine has. `dealt`: rank r is on machine r modulo their number, as far as it has room.
inline std::vector<RankInJob> places_of(const std::vector<int>& machines, const std::string& address,
                                        bool dealt = false) {
  const std::string job = fresh_job();
  int ranks = 0;
  for (const int n : machines) ranks += n;
  std::vector<RankInJob> places;
  std::vector<int> here(machines.size());
  for (std::size_t m = 0; static_cast<int>(places.size()) < ranks; m = dealt ? (m + 1) % machines.size() : m) {
    if (here[m] == machines[m]) {
      if (!dealt) ++m;
      continue;
    }
    places.push_back({static_cast<int>(places.size()), ranks, cat(job, "/", m), "a test",
                      Share{here[m]++, machines[m], job, address, "a test"}});
  }
  return places;
}

inline std::vector<Ended> in_machines(const std::vector<int>& machines, double timeout,
                                      const std::function<void(ProcessRanks&)>& f,
                                      const std::function<void(const std::vector<pid_t>&)>& started = {},
                                      bool dealt = false) {
  const FreePort port;
  const std::vector<Ended> ended = in_places(places_of(machines, port.address(), dealt), timeout, f, started);
  CHECK(port.nobody_listens());
  return ended;
}

inline int open_descriptors() {
  int n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

}  // namespace ov::test
