#include "serve/http.h"

#include <dlfcn.h>

#include <cstdlib>
#include <string>

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

}  // namespace ov::serve
