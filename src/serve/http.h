// cpp-httplib as Debian builds it: with TLS, which its classes' layout depends on. For .cpp files.
#pragma once
#define CPPHTTPLIB_OPENSSL_SUPPORT
#include <httplib.h>

#include <string>

namespace ov::serve {

// Comes before the first call into the library: the program starts without it (Makefile). machine_error when it is not
// installed.
void load_http();

// Why a request had no answer, in words. number: errno behind it, which was 0 before it.
std::string http_fault(httplib::Error error, int number);

}  // namespace ov::serve
