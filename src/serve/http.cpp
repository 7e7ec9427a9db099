#include "serve/http.h"

#include <dlfcn.h>

#include <cstdlib>

#include "base/clock.h"
#include "base/error.h"
#include "comm/tcp.h"

namespace ov::serve {

// The calls find it because the dynamic linker resolves each when it is first made.
void load_http() {
  [[maybe_unused]] static void* const library = [] {
    const std::string version = CPPHTTPLIB_VERSION, name = "libcpp-httplib.so." + version.substr(0, version.rfind('.'));
    if (const char* now = std::getenv("LD_BIND_NOW"); now && *now)
      machine_error("LD_BIND_NOW is set, under which ", name, " cannot be loaded late; unset it");
    void* const opened = ::dlopen(name.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (!opened) machine_error(name, ": ", ::dlerror(), "; the Debian package libcpp-httplib-dev brings it");
    return opened;
  }();
}

namespace {

// Why nobody can connect to "http://host:port"; empty where one can, or it is no such thing.
std::string why_not(const std::string& origin) {
  const auto scheme = origin.find("://");
  if (scheme == origin.npos) return "";
  std::string host = origin.substr(scheme + 3), why;
  const auto colon = host.rfind(':');
  if (colon == host.npos || host.ends_with(']')) host += origin.starts_with("https") ? ":443" : ":80";
  try {
    const Descriptor socket = connect_to(host_port(host, "the server's address"), monotonic_seconds() + 0.2, &why);
    return socket.get() >= 0 ? "" : why;
  } catch (const Error&) { return ""; }
}

}  // namespace

std::string http_fault(httplib::Error error, const std::string& origin) {
  using E = httplib::Error;
  switch (error) {
    case E::Connection: {
      const std::string why = why_not(origin);
      return why.empty() ? "no connection" : why;
    }
    case E::ConnectionTimeout: return "no connection in time";
    case E::Read: return "the connection ended, or nothing came in time";
    case E::Write: return "the connection ended while the request was sent";
    case E::Canceled: return "cut off";
    case E::ExceedRedirectCount: return "too many redirections";
    case E::SSLConnection: return "no TLS connection";
    case E::SSLLoadingCerts: return "this machine's certificates cannot be read";
    case E::SSLServerVerification: return "its certificate is not trusted here";
    default: return to_string(error);
  }
}

}  // namespace ov::serve
