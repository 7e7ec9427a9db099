// What a request in the OpenAI API's form asks for. Knows no HTTP: `batch` reads its lines with it too.
//
// One field of our own, for a chat with pictures and one answer: with "image_attention": true each choice, of a stream
// each event that brings tokens, says what they attended to,
//
//   "image_attention": {"grids": [[rows, columns], ...], "tokens": [[mass, ...], ...]}
//
// grids: of merged patches, one a picture; tokens: one list a token of the answer, the masses of all pictures' patches
// row by row, one picture after the other, to a millionth. What a mass is: generate/attention_map.h. The rest of the
// answer is the same with it and without.
#pragma once
#include <stdexcept>
#include <string>
#include <vector>

#include "data/sample/processor.h"
#include "generate/engine.h"
#include "serve/media.h"

namespace ov::serve {

// An answer that is none: {"error": {"message", "type", "param", "code"}} under this status.
struct ApiError : std::runtime_error {
  ApiError(int status, const std::string& message, const std::string& param = "", const std::string& code = "")
      : std::runtime_error(message), status(status), param(param), code(code) {}
  Json json() const;
  int status;
  std::string param, code;  // "": null
};

// What stands behind all requests.
struct Service {
  const ModelConfig& config;  // of the model
  const Processor& processor;
  std::vector<std::int64_t> stop;        // ids that end an answer
  Sampling otherwise = {};               // where a request does not say
  std::string name = "llava-ov-1.5-8b";  // of the model
  std::int64_t max_tokens = 1024;        // of an answer whose request does not say; less when the context is full
  std::int64_t max_images = 64;          // of a request
  MediaOptions media = {};
};

struct Asked {
  bool chat = true;                                // else a completion
  std::vector<std::vector<std::int64_t>> prompts;  // a chat has one
  std::vector<Picture> pictures = {};
  Sampling sampling = {};
  std::int64_t choices = 1, max_tokens = 0;
  std::vector<std::string> stop = {};
  std::vector<std::int64_t> stop_ids = {};
  bool stream = false, include_usage = false, logprobs = false, echo = false;
  bool image_attention = false;
};

// Throw ApiError, 400 unless said otherwise: what the request says is wrong, or too much.
Asked read_chat(const Service& service, const Json& body);
Asked read_completion(const Service& service, const Json& body);
// The text that the messages become; pictures stand as one placeholder each, and are not looked at.
std::string rendered(const Service& service, const Json& body);
// JSON of a request's body: an object.
Json parse_body(const std::string& body);

}  // namespace ov::serve
