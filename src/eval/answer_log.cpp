#include "eval/answer_log.h"

#include "base/error.h"
#include "base/sha256.h"
#include "base/text.h"

namespace ov {

AnswerLog::AnswerLog(const std::string& directory, const std::string& from)
    : directory_(directory), path_(directory + "/answers.jsonl") {
  make_directories(directory);
  lock_ = std::make_unique<DirectoryLock>(directory);
  std::size_t line = 0;
  writer_ = std::make_unique<JsonlWriter>(JsonlWriter::resume(path_, [&](const Json& json) {
    const std::string where = cat(path_, ":", ++line);
    try {
      if (line == 1) {
        if (const std::string& other = json.at("from").as_string(); other != from)
          input_error("answers of ", shown(other), ", where ", shown(from), " is asked; name another --out, or remove ",
                      directory);
        return true;
      }
      answers_[json.at("doc_id").as_int()] = {json.at("request").as_string(), json.at("answer")};
    } catch (const Error& e) { throw Error(e.exit(), cat(where, ": ", e.what())); }
    return true;
  }));
  if (line == 0) writer_->write(Json::object({{"from", from}}));
  sync_path(directory, true, directory);
}

const Json* AnswerLog::find(std::int64_t document, const std::string& request) const {
  const auto at = answers_.find(document);
  return at == answers_.end() || at->second.request != request ? nullptr : &at->second.answer;
}

void AnswerLog::add(std::int64_t document, const std::string& request, const Json& answer) {
  writer_->write(Json::object({{"doc_id", document}, {"request", request}, {"answer", answer}}));
  const auto now = std::chrono::steady_clock::now();
  if (now - synced_ < std::chrono::seconds(1)) return;
  sync_path(path_, false, path_);
  synced_ = now;
}

void AnswerLog::remove() {
  writer_.reset();
  remove_tree(directory_);
}

std::string request_hash(const Json& body) {
  Sha256 hash;
  const std::string text = body.dump();
  hash.update(text.data(), text.size());
  return hash.hex();
}

}  // namespace ov
