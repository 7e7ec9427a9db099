// The OpenAI API over HTTP: chat completions and completions, streamed or not, models, tokens, health and metrics.
//
// One thread steps the engine; each connection has one of its own, which waits for its reply and watches whether the
// client is still there. A client that leaves takes its answers with it. Errors have the API's form, whatever went
// wrong. One line a request goes to `log`.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "serve/api.h"

namespace ov::serve {

struct ServerOptions {
  std::string host = "127.0.0.1";
  std::int64_t port = 8080;                         // 0: any that is free
  std::string api_key = "";                         // "": none is asked for
  std::int64_t connections = 128;                   // served at once; more wait to be accepted
  std::int64_t max_body = std::int64_t{512} << 20;  // bytes
  std::int64_t max_bodies = std::int64_t{2} << 30;  // bytes of all requests that are read; beyond, they wait
  std::int64_t read_timeout_s = 60;                 // of a client that sends nothing while its request is not complete
  std::int64_t timeout_s = 600;                     // of an answer
  std::int64_t drain_s = 30;                        // what stop() waits for requests that run
  std::function<void(const std::string& line)> log = {};
};

// From here on this process gives bodies and pictures back to the system when it frees them.
void give_memory_back();

class Server {
 public:
  // Listens. Throws machine_error when the address cannot be had, or the threads.
  Server(const Service& service, Engine& engine, const ServerOptions& options);
  ~Server();  // stop()

  std::int64_t port() const;
  void stop();  // no new requests, those that run are waited for; then everything ends

 private:
  struct Inside;
  std::unique_ptr<Inside> inside_;
};

}  // namespace ov::serve
