// cpp-httplib as Debian builds it: with TLS, which its classes' layout depends on. For .cpp files.
#pragma once
#define CPPHTTPLIB_OPENSSL_SUPPORT
#include <httplib.h>

namespace ov::serve {

// Comes before the first call into the library: the program starts without it (Makefile). machine_error when it is not
// installed.
void load_http();

}  // namespace ov::serve
