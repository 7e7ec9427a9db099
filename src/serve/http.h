// cpp-httplib as Debian builds it: with TLS, which its classes' layout depends on. For .cpp files.
#pragma once
#define CPPHTTPLIB_OPENSSL_SUPPORT
#include <httplib.h>
