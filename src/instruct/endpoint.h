// Answers of an endpoint of the OpenAI API that nobody pays for twice.
//
//   CACHE/3f/3f07...c1.json    {"request": the body, "answer": what the API said}, or "refused": its words
//
// The name is the SHA-256 of the request's JSON, so the same question of another record, run or shard finds it. A file
// is written durably as soon as its answer is there: a kill loses the answers in flight and no others. (Two processes
// that ask the same at the same moment both pay.)
//
// What the endpoint refuses (400, 413, 422) is an answer and is kept, and so is one that makes no sense. What may pass
// (no connection, 408, 409, 429, 5xx) the client has tried again (serve/askers.h); when that was in vain the run ends,
// and goes on when it is started again.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "eval/ask.h"

namespace ov::instruct {

struct Reply {
  std::string text;
  std::string refused;  // why there is no text: "status 400: ...", "finish_reason length"
};

class Endpoint {
 public:
  // Makes the directory of the cache: what can be known before anything is paid for is.
  Endpoint(Asker asker, std::string cache);

  // One reply a body, in their order. Equal bodies are asked once. Throws input_error: 401, 403, 404, a file of the
  // cache that is damaged; machine_error: no answer.
  std::vector<Reply> replies(const std::vector<Json>& bodies);

  std::int64_t asked() const { return asked_; }  // requests that were sent, and
  std::int64_t found() const { return found_; }  // those that were answered from the cache

 private:
  std::string path_of(const std::string& digest) const;

  const Asker asker_;
  const std::string cache_;
  std::int64_t asked_ = 0, found_ = 0;
};

}  // namespace ov::instruct
