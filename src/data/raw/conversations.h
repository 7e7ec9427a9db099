// LLaVA conversation files: one JSON array, or JSON lines.
//
//   {"id": "17", "image": "a.jpg",
//    "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A ring."}]}
//
//   id                  string or number, may be absent
//   image or images     a path or a list of paths, one for each <image> of the questions in order; absent, null, "" and
//                       [] mean text alone
//   conversations       entries of from (human, gpt, system) and value, or of role (user, assistant, system) and
//   or messages         content; either spelling under either key, mixed if need be. Other keys are ignored.
//
// A file is an array when its first character is '[', else JSON lines. An array is parsed when it is opened and must be
// well formed; of JSON lines only the line starts are kept, each line is parsed when it is read, and a broken line is
// one rejected record.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/io/file.h"
#include "base/json.h"
#include "text/conversation.h"

namespace ov {

struct Conversation {
  std::string where;                // `data.json: record 4 (id "17")`, records counted from 1; `data.jsonl:4 (id "17")`
  std::vector<std::string> images;  // paths, ready to open
  std::vector<Turn> turns;          // roles are system, user, assistant; their order is not checked here
  // Pictures that are in memory already (members of a tar shard), one for each of `images`, which then only name them;
  // `memory` keeps them. Empty: `images` are opened.
  std::vector<std::string_view> image_bytes = {};
  std::shared_ptr<const void> memory = nullptr;
};

// A list of messages in either spelling. Throws Rejected (malformed_record).
std::vector<Turn> read_turns(const Json& list, const std::string& where);

class ConversationFile {
 public:
  // Relative image paths start at image_dir; "" is the file's own directory. Throws input_error: no such file, a
  // malformed array ("path:line:column: ..."), no record.
  explicit ConversationFile(const std::string& path, const std::string& image_dir = "");

  const std::string& path() const { return path_; }
  std::int64_t size() const;

  // Record `index`, 0 <= index < size(). Throws Rejected (malformed_record). Safe from several threads.
  Conversation read(std::int64_t index) const;

 private:
  struct Line {
    std::size_t begin, number;  // offset in the file; from 1
  };
  std::string path_, image_dir_;
  std::vector<Json> array_;
  std::shared_ptr<const MappedFile> file_;  // of JSON lines
  std::vector<Line> lines_;
};

}  // namespace ov
