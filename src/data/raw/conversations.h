// LLaVA conversation files: one JSON array, or JSON lines (data/raw/json_records.h).
//
//   {"id": "17", "image": "a.jpg",
//    "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A ring."}]}
//
//   id                  string or number, may be absent
//   image or images     a path or a list of paths, one for each <image> of the questions in order; absent, null, "" and
//                       [] mean text alone. Where no turn has an <image>, all stand in front of the first question.
//   conversations       entries of from (human, gpt, system) and value, or of role (user, assistant, system) and
//   or messages         content; either spelling under either key, mixed if need be. Other keys are ignored.
//   caption             in place of both: one picture and its caption, asked with the picture alone
//   question, answer    in place of all: one question, as files of evaluations have them (src/eval/questions.h)
//   data_source         what the record's data set is called, for reports; or source
//
// A key that is null counts as absent.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/raw/json_records.h"
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
  std::string source = "";  // the data set: what the record calls it, else the path it was read from
  // What else the record says: all that was read but for pictures. Null for an item of a packed sample.
  std::shared_ptr<const Json> record = nullptr;
};

// Each throws Rejected (malformed_record; turns_of image_count too) with a message that starts with `where`.
std::vector<Turn> read_turns(const Json& list, const std::string& where);  // a list of messages in either spelling
// Of a record's list, or else of a caption: one that stands beside the record, or in it.
std::vector<Turn> turns_of(const Json& record, std::size_t pictures, const std::string& where,
                           const std::function<std::string()>& caption = nullptr);

// A record of a JSON file that stands at `where`; `source` is what it is of unless it says so itself. Throws Rejected
// (malformed_record, image_count).
Conversation conversation_of(Json record, const std::string& where, const std::string& image_dir,
                             const std::string& source);

// Puts all pictures in front of the first question when no turn has a tag.
void place_pictures(Conversation& conversation);

// What the record says under data_source or source.
std::string source_of(const Json& record, const std::string& otherwise);

class ConversationFile {
 public:
  // Relative image paths start at image_dir; "" is the file's own directory. Throws input_error as JsonRecords does,
  // and without a record.
  explicit ConversationFile(const std::string& path, const std::string& image_dir = "")
      : ConversationFile(MappedFile::open(path), image_dir) {}
  explicit ConversationFile(std::shared_ptr<const MappedFile> file, const std::string& image_dir = "",
                            UseIndex use = UseIndex::yes);

  const std::string& path() const { return records_.path(); }
  std::int64_t size() const { return records_.size(); }
  std::string fingerprint() const { return records_.fingerprint(); }  // of the file's bytes
  void write_index() const { records_.write_index(); }
  bool indexed() const { return records_.indexed(); }

  // Record `index`, 0 <= index < size(). Throws Rejected (malformed_record, image_count). Safe from several threads.
  Conversation read(std::int64_t index) const;

 private:
  JsonRecords records_;
  std::string image_dir_;
};

}  // namespace ov
