// Several data sets as one pool of records, in blocks that do not cross from one to the next; and what becomes of the
// records that are refused.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/raw/records.h"
#include "data/reject.h"

namespace ov {

class RecordPool {
 public:
  RecordPool(const std::vector<std::string>& paths, const std::string& image_dir, std::int64_t block_records);

  struct Part {
    std::size_t source;
    std::int64_t begin, end;  // its records
  };
  std::int64_t blocks() const { return static_cast<std::int64_t>(parts_.size()); }
  const Part& part(std::int64_t block) const { return parts_[static_cast<std::size_t>(block)]; }
  Json paths() const { return paths_; }
  Json fingerprints() const;  // of the sources, in the order of paths()
  // What a record is called, "captions:17": the last part of its source's path, and its number.
  std::string id(std::size_t source, std::int64_t record) const;
  std::string made_from() const;  // the sources' fingerprints, and where their pictures are looked for

  // f(i, record) for the i-th record of a block, by several threads; what f refuses, Rejected, comes back in the
  // records' order: [{"source", "record", "reason", "message"}].
  std::vector<Json> each(std::int64_t block, const std::function<void(std::int64_t, const Conversation&)>& f) const;

 private:
  std::vector<std::unique_ptr<Records>> sources_;
  const std::string image_dir_;
  std::vector<std::string> names_;
  std::vector<Part> parts_;
  Json paths_ = Json::array();
};

// OUT.rejects.jsonl, a line for each, and their counts.
class RejectFile {
 public:
  RejectFile(const std::string& out, std::int64_t most)
      : path_(out + ".rejects.jsonl"), blocks_(out + ".blocks"), most_(most) {}
  void add(const Json& rejects);
  // Writes the file. Throws input_error when there are more than `most`, or all of the records.
  void finish(std::int64_t records) const;
  std::int64_t total() const { return total_; }
  Json json() const;  // the reasons that occurred, with their counts

 private:
  const std::string path_, blocks_;
  const std::int64_t most_;
  std::int64_t total_ = 0;
  std::vector<std::pair<std::string, std::int64_t>> reasons_;
  std::string lines_, first_;
};

}  // namespace ov
