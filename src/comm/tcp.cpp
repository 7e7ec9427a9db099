#include "comm/tcp.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <string_view>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"

namespace ov {
namespace {

constexpr std::uint32_t magic = 0x646e766f;  // "ovnd"
constexpr std::uint32_t longest_note = 1 << 20;

struct NoteHeader {
  std::uint32_t magic, version, bytes;
};

using Found = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;
Found find(const HostPort& at, int* error) {
  addrinfo wanted{}, *first = nullptr;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_NUMERICSERV;
  *error = ::getaddrinfo(at.host.c_str(), at.port.c_str(), &wanted, &first);
  return {*error == 0 ? first : nullptr, [](addrinfo* a) {
            if (a) ::freeaddrinfo(a);
          }};
}

std::string in_numbers(const sockaddr* a, socklen_t n, std::string* port = nullptr) {
  char host[NI_MAXHOST] = "?", service[NI_MAXSERV] = "?";
  ::getnameinfo(a, n, host, sizeof host, service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV);
  if (port) *port = service;
  return host;
}

// However it is spelt: 127.1 and 0:0:0:0:0:0:0:1 too.
bool is_number(const std::string& host) {
  addrinfo wanted{}, *found = nullptr;
  wanted.ai_flags = AI_NUMERICHOST;
  const bool number = ::getaddrinfo(host.c_str(), nullptr, &wanted, &found) == 0;
  if (found) ::freeaddrinfo(found);
  return number;
}

std::vector<std::string> own_addresses() {
  std::vector<std::string> all;
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return all;
  for (const ifaddrs* i = first; i; i = i->ifa_next) {
    const int family = i->ifa_addr && (i->ifa_flags & IFF_UP) ? i->ifa_addr->sa_family : AF_UNSPEC;
    if (family == AF_INET) all.push_back(in_numbers(i->ifa_addr, sizeof(sockaddr_in)));
    if (family == AF_INET6) all.push_back(in_numbers(i->ifa_addr, sizeof(sockaddr_in6)));
  }
  ::freeifaddrs(first);
  return all;
}

// The addresses of a name, as others see them; `own` of which are those of this machine's interfaces.
std::vector<Found> find_as_others(const HostPort& at, int* error, std::vector<std::string>* own = nullptr) {
  std::vector<Found> all;
  all.push_back(find(at, error));
  std::vector<std::string> resolved;
  for (const addrinfo* a = all[0].get(); a; a = a->ai_next) resolved.push_back(in_numbers(a->ai_addr, a->ai_addrlen));
  const std::vector<std::string> seen = as_others_see(at.host, resolved, own_addresses());
  if (seen == resolved) return all;
  all.clear();
  for (const std::string& address : seen) all.push_back(find({address, at.port}, error));
  if (own) *own = seen;
  return all;
}

void set(int socket, int level, int option, int value) { ::setsockopt(socket, level, option, &value, sizeof value); }

// Small frames go at once; what a machine that is switched off leaves open is closed after a minute.
void as_between_machines(int socket) {
  set(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(socket, IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set(socket, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(socket, IPPROTO_TCP, TCP_KEEPCNT, 6);
  set(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, 60000);
  const timeval patience{10, 0};
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

template <class F>
HostPort end_of(int socket, F name) {
  sockaddr_storage a{};
  socklen_t n = sizeof a;
  HostPort end{"?", "?"};
  if (name(socket, reinterpret_cast<sockaddr*>(&a), &n) == 0)
    end.host = in_numbers(reinterpret_cast<sockaddr*>(&a), n, &end.port);
  return end;
}

}  // namespace

HostPort host_port(const std::string& text, const std::string& source) {
  const auto colon = text.rfind(':');
  std::string host = colon == text.npos ? "" : text.substr(0, colon);
  const std::string port = colon == text.npos ? "" : text.substr(colon + 1);
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  int number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (host.empty() || (!brackets && host.find_first_of("[]:") != host.npos) || error != std::errc() ||
      end != port.data() + port.size() || number < 1 || number > 65535)
    input_error(source, ": expected HOST:PORT or [ADDRESS]:PORT with a port from 1 to 65535, found '", shown(text),
                "'");
  return {host, port};
}

std::vector<std::string> as_others_see(const std::string& name, const std::vector<std::string>& resolved,
                                       const std::vector<std::string>& own) {
  const auto here_alone = [](const std::string& a) { return a.starts_with("127.") || a == "::1"; };
  std::string low = name;
  for (char& c : low) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const bool number = is_number(name),
             meant = low.starts_with("localhost") || low.ends_with(".localhost") || low.starts_with("ip6-l");
  if (resolved.empty() || number || meant || !std::all_of(resolved.begin(), resolved.end(), here_alone))
    return resolved;
  std::vector<std::string> v4, v6;
  for (const std::string& a : own)
    if (!here_alone(a) && !a.starts_with("169.254.") && !a.starts_with("fe80:"))  // nor one of a link
      (a.find(':') == a.npos ? v4 : v6).push_back(a);
  return !v4.empty() ? v4 : !v6.empty() ? v6 : resolved;
}

HostPort own_end(int socket) { return end_of(socket, ::getsockname); }
HostPort other_end(int socket) { return end_of(socket, ::getpeername); }

Descriptor listen_at(const HostPort& at, const std::string& source) {
  int error = 0;
  std::vector<std::string> own;
  const std::vector<Found> found = find_as_others(at, &error, &own);
  if (error != 0) machine_error(source, ": ", at.host, ": ", ::gai_strerror(error));
  if (own.size() > 1) {
    std::string all;
    for (const std::string& address : own) all += cat(all.empty() ? "" : ", ", address);
    input_error(source, ": ", at.host, " leads to this machine alone, and it has several interfaces: give the address ",
                "of one, ", all);
  }
  int why = 0;
  for (const addrinfo* a = found[0].get(); a; a = a->ai_next) {
    Descriptor door(::socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (door.get() >= 0) set(door.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (door.get() >= 0 && ::bind(door.get(), a->ai_addr, a->ai_addrlen) == 0 && ::listen(door.get(), SOMAXCONN) == 0)
      return door;
    why = errno;
  }
  machine_error(source, ": rank 0 cannot listen at ", at.said(), ": ", std::strerror(why),
                why == EADDRINUSE      ? "; by another run, or by a second machine that is node 0 too"
                : why == EADDRNOTAVAIL ? "; it is no address of this machine, where rank 0 is"
                                       : "");
}

Descriptor connect_to(const HostPort& to, double until, std::string* why) {
  for (;;) {
    int error = 0;
    const std::vector<Found> found = find_as_others(to, &error);
    if (error != 0) *why = ::gai_strerror(error);
    std::vector<const addrinfo*> addresses;
    for (const Found& some : found)
      for (const addrinfo* a = some.get(); a; a = a->ai_next) addresses.push_back(a);
    for (const addrinfo* a : addresses) {
      Descriptor socket(::socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (socket.get() < 0) continue;
      // A connect that nobody answers leaves time for the next address; the loop comes round again.
      const double left = std::clamp(until - monotonic_seconds(), 0.001, 5.0);
      const timeval time{static_cast<time_t>(left), static_cast<suseconds_t>((left - std::floor(left)) * 1e6)};
      ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
      if (::connect(socket.get(), a->ai_addr, a->ai_addrlen) != 0) {
        *why = errno == EINPROGRESS ? "no answer" : std::strerror(errno);
        continue;
      }
      const HostPort own = own_end(socket.get()), other = other_end(socket.get());
      if (own.host == other.host && own.port == other.port) continue;  // with itself, as TCP allows
      as_between_machines(socket.get());
      return socket;
    }
    if (monotonic_seconds() >= until) return Descriptor();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

Descriptor accept_at(int door) {
  Descriptor guest(::accept4(door, nullptr, nullptr, SOCK_CLOEXEC));
  if (guest.get() >= 0) as_between_machines(guest.get());
  return guest;
}

bool send_note(int socket, const Json& note) {
  const std::string text = note.dump();
  const NoteHeader header{magic, note_version, static_cast<std::uint32_t>(text.size())};
  std::string all(reinterpret_cast<const char*>(&header), sizeof header);
  all += text;
  for (std::size_t done = 0; done < all.size();) {
    const ssize_t n = ::send(socket, all.data() + done, all.size() - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<std::size_t>(n);
  }
  return true;
}

NoteIn::State NoteIn::hear(int socket) {
  NoteHeader h{};
  for (;;) {
    const bool header = said_.size() >= sizeof h;
    if (header) {
      std::memcpy(&h, said_.data(), sizeof h);
      if (h.magic != magic) return State::none;
      if (h.version != note_version) return State::other_version;
      if (h.bytes > longest_note) return State::none;
      if (said_.size() == sizeof h + h.bytes) return State::whole;
    }
    char bytes[4096];
    const std::size_t want = (header ? sizeof h + h.bytes : sizeof h) - said_.size();
    const ssize_t n = ::recv(socket, bytes, std::min(want, sizeof bytes), MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return State::coming;
    if (n <= 0) return State::none;
    said_.append(bytes, static_cast<std::size_t>(n));
  }
}

Json NoteIn::note() const { return Json::parse(std::string_view(said_).substr(sizeof(NoteHeader)), "a note"); }

std::uint32_t NoteIn::version() const {
  NoteHeader h{};
  std::memcpy(&h, said_.data(), sizeof h);
  return h.version;
}

}  // namespace ov
