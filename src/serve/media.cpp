#include "serve/media.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

#include <array>
#include <climits>
#include <cstdlib>
#include <memory>

#include "base/base64.h"
#include "base/error.h"
#include "base/io/file.h"
#include "base/text.h"
#include "image/decode.h"
#include "serve/http.h"

namespace ov::serve {
namespace {

std::string unescaped(std::string_view path) {
  std::string out;
  for (std::size_t i = 0; i < path.size(); ++i) {
    const auto digit = [&](std::size_t at) {
      return at < path.size() && std::isxdigit(static_cast<unsigned char>(path[at]));
    };
    if (path[i] == '%' && digit(i + 1) && digit(i + 2))
      out += static_cast<char>(std::stoi(std::string(path.substr(i + 1, 2)), nullptr, 16)), i += 2;
    else out += path[i];
  }
  return out;
}

std::string file_at(std::string_view path, const MediaOptions& options) {
  if (options.media_path.empty()) input_error("file: pictures are not served here (serve.media_path)");
  const auto resolved = [](const std::string& p) {
    check_path(p);
    const std::unique_ptr<char, void (*)(void*)> real(::realpath(p.c_str(), nullptr), std::free);
    return real ? std::string(real.get()) : "";
  };
  std::string root = resolved(options.media_path), file = resolved(unescaped(path));
  if (root.empty() || root.back() != '/') root += '/';
  const bool below = file.compare(0, root.size(), root) == 0;
  if (options.own_files && file.empty()) input_error("file: there is no ", shown(unescaped(path)));
  if (options.own_files && !below)
    input_error("file: ", shown(unescaped(path)), " does not lie below ", options.media_path, " (serve.media_path)");
  // Elsewhere the same words for what is not there and what lies outside: a request shall not find out which.
  if (!below) input_error("file: no picture of that name below serve.media_path");
  return read_file(file);
}

// Not of this machine or a network behind it: loopback, private, link-local, multicast, mapped and reserved addresses.
bool is_public(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const std::uint32_t a = ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr);
    const auto in = [&](std::uint32_t net, int bits) { return a >> (32 - bits) == net >> (32 - bits); };
    return !(in(0, 8) || in(10u << 24, 8) || in(0x64400000, 10) || in(127u << 24, 8) || in(0xa9fe0000, 16) ||
             in(0xac100000, 12) || in(0xc0000000, 24) || in(0xc0a80000, 16) || in(0xc6120000, 15) || a >= 0xe0000000);
  }
  if (address->sa_family != AF_INET6) return false;
  const unsigned char* a = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr.s6_addr;
  return (a[0] & 0xe0) == 0x20 && !(a[0] == 0x20 && a[1] == 0x02) && !(a[0] == 0x20 && a[1] == 0x01 && a[2] < 2);
}

std::string fetched(const std::string& url, const MediaOptions& options) {
  if (!options.remote) input_error("http: pictures are not fetched here (serve.allow_remote_images)");
  const std::size_t host_at = url.find("://") + 3, path_at = std::min(url.find_first_of("/?#", host_at), url.size());
  const std::string authority = url.substr(host_at, path_at - host_at);
  const std::string host = authority.substr(0, authority.find(':'));
  if (host.empty() || authority.find_first_of("@[]\\") != authority.npos)
    input_error("not a plain host: ", shown(authority));
  addrinfo* found = nullptr;
  const addrinfo wanted{.ai_flags = 0,
                        .ai_family = AF_UNSPEC,
                        .ai_socktype = SOCK_STREAM,
                        .ai_protocol = 0,
                        .ai_addrlen = 0,
                        .ai_addr = nullptr,
                        .ai_canonname = nullptr,
                        .ai_next = nullptr};
  if (::getaddrinfo(host.c_str(), nullptr, &wanted, &found) != 0) input_error("no address for the host ", shown(host));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, ::freeaddrinfo);
  for (const addrinfo* a = found; a; a = a->ai_next)
    if (!is_public(a->ai_addr)) input_error("the host ", shown(host), " is not on a public address");
  std::array<char, INET6_ADDRSTRLEN> ip{};
  if (::getnameinfo(found->ai_addr, found->ai_addrlen, ip.data(), ip.size(), nullptr, 0, NI_NUMERICHOST) != 0)
    input_error("no address for the host ", shown(host));

  load_http();
  httplib::Client client(url.substr(0, path_at));
  client.set_hostname_addr_map(
      {{host, ip.data()}});  // the address that was looked at, not what a second question gives
  client.set_follow_location(false);
  client.set_connection_timeout(10), client.set_read_timeout(30);
  std::string bytes;
  const std::string path =
      path_at == url.size() || url[path_at] != '/' ? "/" + url.substr(path_at) : url.substr(path_at);
  const auto result = client.Get(path, [&](const char* data, std::size_t n) {
    bytes.append(data, n);
    return std::ssize(bytes) <= options.max_bytes;
  });
  if (std::ssize(bytes) > options.max_bytes)
    input_error("the picture at ", shown(url), " has more than ", options.max_bytes, " bytes");
  if (!result || result->status != 200)
    input_error("cannot fetch ", shown(url), ": ",
                result ? cat("status ", result->status) : http_fault(result.error()));
  return bytes;
}

}  // namespace

Image picture_at(const std::string& url, const MediaOptions& options, std::int64_t* pixels) {
  const auto starts = [&](std::string_view with) { return url.compare(0, with.size(), with) == 0; };
  std::string bytes;
  if (starts("data:")) {
    const std::size_t comma = url.find(',');
    const std::string_view head = std::string_view(url).substr(0, comma);
    if (comma == url.npos || head.size() < 7 || head.substr(head.size() - 7) != ";base64")
      input_error("a data: URL without ';base64,' after its type");
    bytes = from_base64(std::string_view(url).substr(comma + 1));
  } else if (starts("file://")) {
    bytes = file_at(std::string_view(url).substr(7), options);
  } else if (starts("http://") || starts("https://")) {
    bytes = fetched(url, options);
  } else {
    input_error("expected data:image/...;base64,..., file:///PATH or http(s)://..., found ", shown(url, 40));
  }
  const ImageSize size = image_size(bytes, "picture");
  if (size.width > options.max_pixels / std::max<std::int64_t>(1, size.height))
    input_error("picture of ", size.width, " x ", size.height, " pixels, more than ", options.max_pixels,
                " (serve.max_picture_pixels)");
  if (pixels && (*pixels += size.width * size.height) > options.max_request_pixels)
    input_error("pictures of ", *pixels, " pixels and more, where a request may have ", options.max_request_pixels,
                " (serve.max_request_pixels)");
  return decode_image(bytes, "picture");
}

}  // namespace ov::serve
