// Answers of a task as they come, each with the system before the next is taken: what was paid for outlives a kill, all
// but the last second's a power cut too, and the same command goes on with what is missing.
//
//   DIRECTORY/answers.jsonl   {"from": who answers}, then {"doc_id", "request", "answer"} a line
//
// An answer stands for its document while the request is the same to the byte ("request" is its SHA-256): with another
// prompt, picture, limit or model name it is asked again.
#pragma once
#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "base/io/directory_lock.h"
#include "store/jsonl.h"

namespace ov {

class AnswerLog {
 public:
  // Makes the directory. Throws input_error: another process is at it, answers of somebody else are in it.
  AnswerLog(const std::string& directory, const std::string& from);
  bool holds(std::int64_t document) const { return answers_.contains(document); }
  // The answer to this request, or null.
  const Json* find(std::int64_t document, const std::string& request) const;
  void add(std::int64_t document, const std::string& request, const Json& answer);
  void remove();  // all of it: the answers stand elsewhere

 private:
  struct Logged {
    std::string request;
    Json answer;
  };
  std::string directory_, path_;
  std::unique_ptr<DirectoryLock> lock_;
  std::map<std::int64_t, Logged> answers_;  // of before
  std::unique_ptr<JsonlWriter> writer_;
  std::chrono::steady_clock::time_point synced_ = {};  // on the disk since then
};

std::string request_hash(const Json& body);

}  // namespace ov
