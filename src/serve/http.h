// cpp-httplib as Debian builds it: with TLS, which its classes' layout depends on. For .cpp files.
#pragma once
#define CPPHTTPLIB_OPENSSL_SUPPORT
#include <httplib.h>

#include <string>

namespace ov::serve {

// Comes before the first call into the library: the program starts without it (Makefile). machine_error when it is not
// installed.
void load_http();

// Why a request had no answer, in words. The library keeps the system's reason to itself: where there was no connection
// to `origin`, "http://host:port", one more is tried to hear it; with an empty origin none is.
std::string http_fault(httplib::Error error, const std::string& origin = "");

}  // namespace ov::serve
