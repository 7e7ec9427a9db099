#include <chrono>
#include <cstdio>
#include <thread>

#include "base/io/file.h"
#include "base/stop_signals.h"
#include "base/text.h"
#include "cli/service.h"
#include "serve/server.h"

namespace ov::cli {

Exit serve(const Config& config) {
  ov::serve::give_memory_back();
  use_threads(config);
  ov::serve::ServerOptions options{.host = config.text("serve.host"),
                                   .port = config.integer("serve.port"),
                                   .api_key = config.text("serve.api_key"),
                                   .connections = config.integer("serve.connections"),
                                   .max_body = config.integer("serve.max_body_mb") << 20,
                                   .max_bodies = config.integer("serve.max_bodies_mb") << 20,
                                   .read_timeout_s = config.integer("serve.read_timeout"),
                                   .timeout_s = config.integer("serve.timeout"),
                                   .drain_s = config.integer("serve.drain"),
                                   .log = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }};
  if (const std::string& file = config.text("serve.api_key_file"); !file.empty()) {
    options.api_key = trimmed(read_file(file));
    if (options.api_key.empty()) input_error(file, ": expected an API key, found nothing");
  }
  const StopSignals signals;
  const ServedModel served(config);
  const EngineOptions engine_is = engine_options(config);
  Engine engine(*served.model, engine_is);
  ov::serve::Server server(served.service, engine, options);
  print(cat("ready: http://", options.host, ":", server.port(), "/v1, model ", served.service.name, ", ",
            engine.stats().pages * page_tokens, " tokens of cache, ", engine_is.max_running, " answers at once\n"));
  while (!StopSignals::asked()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  std::fprintf(stderr, "stopping: requests that run are answered first\n");
  server.stop();
  return Exit::done;
}

}  // namespace ov::cli
