// The steps that look at one record at a time, and what a block of records leaves behind for those that know them all.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "curate/blocks.h"
#include "instruct/audit.h"
#include "instruct/curate.h"
#include "instruct/manifest.h"
#include "instruct/source.h"
#include "instruct/templates.h"

namespace ov::instruct {

// What the last steps need to know of a record; as it lies on disk.
struct RecordSummary {
  std::uint64_t content[2];  // digest of its texts and pictures
  std::uint64_t draw;        // its random number
  std::int64_t number;       // in its source
  std::uint32_t bytes;       // of its line
  std::uint32_t question_words, answer_words;
  std::uint16_t turns, pictures;
  std::uint8_t category, lang, difficulty, stored;  // stored: pictures that lie in the block
  std::uint32_t unused;
};
static_assert(sizeof(RecordSummary) == 56);

class Pipeline {
 public:
  static constexpr std::size_t aggregate = 0, standardise = 1, deduplicate = 6, balance = 7;
  static const std::vector<std::string>& step_names();

  explicit Pipeline(const CurateOptions& options);

  const Manifest& manifest() const { return manifest_; }
  std::int64_t blocks() const { return static_cast<std::int64_t>(parts_.size()); }
  std::string made_from() const;  // a digest of all that a block depends on
  std::int64_t source_of_block(std::int64_t block) const { return parts_[static_cast<std::size_t>(block)].source; }
  // Writes `path` and what stands beside it: .records, .audit and .pictures.
  void make(std::int64_t block, const std::string& path) const;

 private:
  struct Part {
    std::int64_t source;
    std::size_t file;
    std::int64_t block, first;  // of the file; the number in the source that its records begin with
  };
  struct Outcome;
  void run(Outcome& o) const;
  const RawSource& open(const Part& part) const;

  CurateOptions options_;
  Manifest manifest_;
  std::vector<std::vector<std::int64_t>> sizes_;  // records of each source's files
  std::vector<std::int64_t> taken_from_;          // records of each source that may be taken
  std::vector<Part> parts_;
  std::string made_from_;
  std::vector<std::function<void(Record&, Notes&)>> steps_;  // of the names, from rewrite to filter
  mutable std::string open_path_;
  mutable std::unique_ptr<const RawSource> open_;
};

// A block as make() left it.
struct MadeBlock {
  Json audit;
  std::vector<RecordSummary> keys;
  static MadeBlock read(const std::string& path);
};

}  // namespace ov::instruct
