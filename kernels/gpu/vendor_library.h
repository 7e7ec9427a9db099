// NVIDIA's libraries, opened when the first call needs them, so that the program starts without any.
#pragma once
#include <dlfcn.h>

#include "base/error.h"

namespace ov::gpu {

// Stays open until the program ends. Errors: machine_error "SONAME: what dlopen says; NEED" and "SONAME: has no SYMBOL;
// NEED", where NEED says what needs which version.
class VendorLibrary {
 public:
  VendorLibrary(const char* soname, const char* need)
      : soname_(soname), need_(need), handle_(dlopen(soname, RTLD_NOW | RTLD_LOCAL)) {
    if (!handle_) machine_error(soname_, ": ", dlerror(), "; ", need_);
  }

  template <class Call>
  void load(Call*& call, const char* symbol) const {
    call = reinterpret_cast<Call*>(dlsym(handle_, symbol));
    if (!call) machine_error(soname_, ": has no ", symbol, "; ", need_);
  }

 private:
  const char *soname_, *need_;
  void* handle_;
};

}  // namespace ov::gpu
