#include "serve/chat.h"

#include <unistd.h>

#include <iostream>

#include "base/stop_signals.h"
#include "cli/service.h"

namespace ov::cli {

Exit chat(const Config& config) {
  use_threads(config);
  const Sampling s = sampling_options(config);
  Json options = Json::object({{"temperature", s.temperature},
                               {"top_k", s.top_k},
                               {"top_p", s.top_p},
                               {"min_p", s.min_p},
                               {"repetition_penalty", s.repetition_penalty},
                               {"presence_penalty", s.presence_penalty},
                               {"frequency_penalty", s.frequency_penalty},
                               {"seed", static_cast<std::int64_t>(s.seed)}});
  if (const Strings& stop = config.list("generate.stop"); !stop.empty()) options.set("stop", stop);
  const std::string &url = config.text("chat.url"), &key = config.text("serve.api_key");
  std::optional<ServedModel> served;
  std::optional<Engine> engine;
  ov::serve::MediaOptions media;
  if (url.empty()) {
    served.emplace(config);
    engine.emplace(*served->model, EngineOptions{});
    media = served->service.media;
  } else {
    options.set("model", config.required("serve.name"));
    options.set("max_tokens", config.integer("serve.max_tokens"));
  }
  ov::serve::Chat talk(url.empty() ? speaker_here(served->service, *engine) : ov::serve::speaker_at(url, key), options,
                       media);
  const bool person = ::isatty(0) && ::isatty(1);
  for (std::string line; (person ? (print("> "), true) : true) && std::getline(std::cin, line);) {
    const StopSignals signals;  // while it answers, Ctrl-C ends the answer; while it waits, the program
    bool said = false, ended = true;
    const bool more = talk.line(line, [&](const std::string& piece) {
      said = true, ended = piece.back() == '\n';
      print(piece);
      return !StopSignals::asked();
    });
    if (said && !ended) print("\n");
    if (!more) break;
  }
  return person ? Exit::done : talk.exit();  // a script is told, a person has read it
}

}  // namespace ov::cli
