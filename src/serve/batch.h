// Answers to the lines of a file, in order, as many at once as the engine takes.
//
//   {"custom_id", "method": "POST", "url": "/v1/chat/completions", "body": {...}}     the OpenAI batch form
//     -> {"id", "custom_id", "response": {"status_code", "request_id", "body"}, "error": null}
//   {"id", "prompt" or "messages", "image" or "images", ...options of the API}        simple lines
//     -> the line with "output", "usage" and "finish_reason"; or with "error"
//
// Pictures of a simple line are files below the input's directory (serve.media_path: below another), or URLs. A line
// that cannot be answered becomes a record with its error, and the run goes on. The output is written line by line: one
// that a killed run left is gone on with behind its last whole line, and nothing is asked twice. Beside a file as
// output OUT.asked.json says what was asked and of whom: no answer is taken for one to another line, or of another
// model.
#pragma once
#include <functional>
#include <string>

#include "serve/reply.h"

namespace ov::serve {

struct BatchOptions {
  std::string in, out;
  std::string model = "";  // who answers: an output of another is refused
  std::int64_t at_once = 64;
  bool fail_fast = false;  // the first line that cannot be answered ends the run
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
};

struct BatchCounts {
  std::int64_t answered = 0, failed = 0;
  std::int64_t before = 0, failed_before = 0;  // lines that the output held already, and those of them with an error
};

// Throws input_error: an output of another input or model, an input that is no JSON lines, or the first failure with
// fail_fast.
BatchCounts run_batch(const Service& service, Engine& engine, const BatchOptions& options);

}  // namespace ov::serve
