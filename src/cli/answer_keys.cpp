// The keys of answers: how tokens are drawn, the engine, batch and serve.
#include "cli/keys.h"

namespace ov::cli {
std::vector<Key> answer_rows() {
  return {
      // --- how tokens are drawn
      {"generate.temperature", "temperature", 0.0, Allowed(0, 2), "generate chat",
       "of the draw; 0: the likeliest token, of equals the lowest id"},
      {"generate.top_k", "top_k", whole(0), at_least(0), "generate chat",
       "the likeliest tokens that may be drawn; 0: all"},
      {"generate.top_p", "top_p", 1.0, Allowed(0, 1), "generate chat",
       "the likeliest tokens of this probability together"},
      {"generate.min_p", "min_p", 0.0, Allowed(0, 1), "generate chat", "tokens with this share of the likeliest's"},
      {"generate.repetition_penalty", "repetition_penalty", 1.0, Allowed(1e-3, 1e3), "generate chat",
       "divides scores of tokens that prompt or answer holds"},
      {"generate.presence_penalty", "presence_penalty", 0.0, Allowed(-2, 2), "generate chat",
       "taken from scores of tokens that the answer holds"},
      {"generate.frequency_penalty", "frequency_penalty", 0.0, Allowed(-2, 2), "generate chat",
       "the same, for each time that it holds them"},
      {"generate.seed", "seed", whole(0), any, "generate chat", "of the draws"},
      {"generate.stop", "stop", Strings{}, any, "generate chat", "texts that end the answer and are not part of it"},

      // --- many answers at once
      {"engine.chunk", "", whole(512), Allowed(1, 1 << 20), "batch serve",
       "tokens of prompts in one pass; no effect on answers"},
      {"engine.max_running", "", whole(32), Allowed(1, 1 << 16), "batch serve", "answers that are written at once"},
      {"engine.max_waiting", "", whole(1024), at_least(0), "batch serve",
       "requests that may wait beyond them; more are refused; 0: any number"},
      {"engine.cache_gb", "", 1.0, Allowed(1e-6, 1e6), "batch serve",
       "gigabytes of keys and values; what needs more is refused"},
      {"engine.share", "", true, any, "batch serve",
       "equal beginnings of prompts are computed once; no effect on answers"},
      {"chat.url", "url", "", any, "chat", "server to talk to, http://host:port/v1; empty: the model of --model"},
      {"eval.url", "url", "", any, "eval",
       "server that answers public tasks, http://host:port/v1; empty: the model of --model"},
      {"eval.at_once", "", whole(32), Allowed(1, 4096), "eval", "questions of public tasks that are asked at once"},
      {"eval.split", "", "", any, "eval", "of a public task's directory with several: test, validation ..."},
      {"batch.fail_fast", "", false, any, "batch", "end at the first line that cannot be answered"},

      // --- requests in the OpenAI API's form
      {"serve.max_tokens", "", whole(1024), at_least(1), "chat batch serve",
       "longest answer where a request says nothing"},
      {"serve.max_images", "", whole(64), at_least(0), "chat batch serve", "pictures of a request"},
      {"serve.max_picture_pixels", "", whole(1 << 27), at_least(1), "chat batch serve", "of a picture as it is sent"},
      {"serve.max_request_pixels", "", whole(1 << 28), at_least(1), "chat batch serve",
       "of all pictures of a request, as they are sent"},
      {"serve.media_path", "media_path", "", any, "chat batch serve",
       "directory below which file: pictures may lie; empty: none"},
      {"serve.allow_remote_images", "", false, any, "chat batch serve",
       "fetch http: and https: pictures from public addresses"},
      {"serve.name", "name", "llava-ov-1.5-8b", any, "chat batch serve eval",
       "of the model, as clients see it; without it eval calls the model of --model by its directory"},
      {"serve.host", "host", "127.0.0.1", any, "serve", "address to listen on"},
      {"serve.port", "port", whole(8080), Allowed(0, 65535), "serve", "port to listen on; 0: any that is free"},
      {"serve.api_key", "api_key", "", any, "chat serve eval curate", "key that clients must send; empty: none"},
      {"serve.api_key_file", "", "", any, "serve", "file that holds it"},
      {"serve.connections", "", whole(128), Allowed(1, 4096), "serve", "clients that are served at once"},
      {"serve.max_body_mb", "", whole(512), Allowed(1, 1 << 20), "serve", "megabytes of a request"},
      {"serve.max_bodies_mb", "", whole(2048), Allowed(1, 1 << 20), "serve",
       "megabytes of all requests that are being read; beyond, they wait"},
      {"serve.read_timeout", "", whole(60), Allowed(1, 86400), "serve", "seconds that a client may send nothing"},
      {"serve.timeout", "", whole(600), Allowed(1, 86400), "serve", "seconds that an answer may take"},
      {"serve.drain", "", whole(30), Allowed(0, 86400), "serve", "seconds that running requests get after SIGTERM"},
  };
}

}  // namespace ov::cli
