// The records of a JSON file, one by one: an array of them, or one on each line (JSON lines).
//
// A file is an array when its first character is '[' and nothing follows the bracket that closes it, else JSON lines.
// Opening it only notes where each record begins, 16 bytes a record, or maps the index that notes it
// (data/raw/record_index.h); a record is parsed when it is read. So one with a
// fault (NaN, 1e999, half a surrogate pair, a comma too many) is one rejected record in either form. Refused as a whole
// are an array that does not close, whose records cannot be told apart, an object over several lines, and what is no
// JSON by its first bytes.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/io/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "data/raw/record_index.h"

namespace ov {

class JsonRecords {
 public:
  // Throws input_error: no such file, not an array or lines, a stale index. There may be no record.
  explicit JsonRecords(const std::string& path) : JsonRecords(MappedFile::open(path)) {}
  explicit JsonRecords(std::shared_ptr<const MappedFile> file, UseIndex use = UseIndex::yes);

  const std::string& path() const { return file_->path(); }
  std::int64_t size() const { return static_cast<std::int64_t>(begin_.size()); }
  std::string fingerprint() const { return fingerprint_.empty() ? sha256(text_) : fingerprint_; }
  // `data.json: record 4`, counted from 1; of JSON lines `data.jsonl:4`.
  std::string where(std::int64_t index) const;
  // 0 <= index < size(). Throws Rejected (malformed_record). Safe from several threads.
  Json read(std::int64_t index) const;
  // Beside the file. input_error when it is none that stays, such as a pipe.
  void write_index() const;
  bool indexed() const { return !fingerprint_.empty(); }

 private:
  void note(std::size_t at, std::size_t line);
  void list_array(std::size_t at);
  void list_lines(std::size_t at);
  [[noreturn]] void refuse(std::size_t at, const std::string& what) const;
  void refuse_spread_object(std::size_t at) const;
  std::size_t value_end(std::size_t at, bool at_its_bracket = false) const;

  std::shared_ptr<const MappedFile> file_;
  std::string_view text_;
  bool array_ = false;
  std::string fingerprint_;                   // that an index says; "" without one
  std::vector<FileStamp> before_;             // without an index: the file, before it was read
  std::vector<std::int64_t> begins_, lines_;  // while they are listed
  Column<std::int64_t> begin_, line_;         // of each record: offset in the file; from 1
};

}  // namespace ov
