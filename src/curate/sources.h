// Several data sets as one pool of records, in blocks that do not cross from one to the next; and what becomes of the
// records that are refused.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/first_reasons.h"
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
  const std::vector<std::string>& paths() const { return paths_; }  // as they were given
  Json names() const { return Json(names_); }                       // set_name() of each
  Json fingerprints() const;                                        // of the sources, in their order
  // input_error of a source whose records cannot have any picture; unless of_each, only if all sources are such.
  void require_pictures(bool of_each) const;
  // What a record is called, "captions:17": its source's name and its number.
  std::string id(std::size_t source, std::int64_t record) const;
  std::int64_t written() const;   // the latest Records::written() of them
  std::string made_from() const;  // the sources' fingerprints, and where their pictures are looked for

  // f(i, record) for the i-th record of a block, by several threads; what f refuses, Rejected, comes back in the
  // records' order: [{"source", "record", "reason", "message"}].
  std::vector<Json> each(std::int64_t block, const std::function<void(std::int64_t, const Conversation&)>& f) const;

 private:
  std::vector<std::unique_ptr<Records>> sources_;
  const std::string image_dir_;
  std::vector<std::string> names_, paths_;
  std::vector<Part> parts_;
};

// OUT.rejects.jsonl, a line for each, and their counts.
class RejectFile {
 public:
  RejectFile(const std::string& out, std::int64_t most)
      : path_(out + ".rejects.jsonl"), blocks_(out + ".blocks"), most_(most) {}
  void add(const Json& rejects);
  // Writes the file. Throws input_error when there are more than `most`, or all of the records.
  void finish(std::int64_t records) const;
  std::string why() const { return reasons_.str(); }
  std::int64_t total() const { return reasons_.total(); }
  Json json() const;  // the reasons that occurred, with their counts

 private:
  const std::string path_, blocks_;
  const std::int64_t most_;
  FirstReasons reasons_;
  std::string lines_;
};

}  // namespace ov
