// Who answers the requests of an evaluation: the model in this process, or any server of the OpenAI API.
#pragma once
#include <atomic>

#include "eval/ask.h"
#include "serve/reply.h"

namespace ov::serve {

// A server's address as clients have it, http://host:port/v1: where to connect, and what paths begin with.
struct Address {
  std::string origin, base;
};
Address address_of(const std::string& url, const char* key);  // input_error names the key that holds it

Asker asker_here(const Service& service, Engine& engine, std::int64_t at_once = 64);
// As lmms-eval's client does, but once: connections that fail, 408, 409, 429 and 5xx are tried again up to `tries`
// times, after 0.5, 1, 2 ... 8 s or what retry-after says; `retries` counts them. The error that is left has the HTTP
// "status" beside its message, 0 where there was none.
Asker asker_at(const std::string& url, const std::string& api_key, std::int64_t at_once = 32, int tries = 5,
               std::atomic<std::int64_t>* retries = nullptr);

}  // namespace ov::serve
