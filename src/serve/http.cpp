#include "serve/http.h"

#include <dlfcn.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

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

std::string http_fault(httplib::Error error, int number) {
  using E = httplib::Error;
  switch (error) {
    case E::Connection:
      for (const int known : {ECONNREFUSED, ECONNRESET, ENETUNREACH, EHOSTUNREACH, ETIMEDOUT, EACCES, EMFILE, ENFILE})
        if (number == known) return std::strerror(number);
      return "no connection: no such host, or it refuses";
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
