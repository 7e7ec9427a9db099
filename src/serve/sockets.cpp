#include "serve/sockets.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>

#include <cstdlib>
#include <filesystem>
#include <optional>

namespace ov::serve {
namespace {

// The port and, as httplib writes it, the address of one end of a socket; nothing when it has no such end.
template <class F>
std::optional<std::pair<std::string, int>> end_of(int fd, F name) {
  sockaddr_storage a{};
  socklen_t n = sizeof a;
  char address[NI_MAXHOST], port[NI_MAXSERV];
  if (name(fd, reinterpret_cast<sockaddr*>(&a), &n) != 0 || (a.ss_family != AF_INET && a.ss_family != AF_INET6) ||
      ::getnameinfo(reinterpret_cast<sockaddr*>(&a), n, address, sizeof address, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return {};
  return std::pair(std::string(address), std::atoi(port));
}

}  // namespace

int socket_of(const httplib::Request& request) {
  std::error_code none;
  for (const auto& open : std::filesystem::directory_iterator("/proc/self/fd", none)) {
    const int fd = std::atoi(open.path().filename().c_str());
    const auto client = end_of(fd, ::getpeername), own = end_of(fd, ::getsockname);
    if (client && own && *client == std::pair(request.remote_addr, request.remote_port) &&
        own->second == request.local_port)
      return fd;
  }
  return -1;
}

bool left(int socket) {
  if (socket < 0) return false;
  pollfd p{.fd = socket, .events = POLLIN | POLLRDHUP, .revents = 0};
  return ::poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

}  // namespace ov::serve
