// The steps that look at one record at a time, and what a block of records leaves behind for those that know them all.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "curate/blocks.h"
#include "instruct/audit.h"
#include "instruct/bilingual.h"
#include "instruct/curate.h"
#include "instruct/filter.h"
#include "instruct/manifest.h"
#include "instruct/safety.h"
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
  std::uint8_t rewritten, translated;               // by an endpoint; 1 by phrases, 2 by an endpoint
  std::uint16_t unused;
};
static_assert(sizeof(RecordSummary) == 56);

class Pipeline {
 public:
  static constexpr std::size_t aggregate = 0, standardise = 1, rewrite = 2, bilingual = 3, templates = 4, safety = 5,
                               filter = 6, deduplicate = 7, balance = 8;
  static const std::vector<std::string>& step_names();

  explicit Pipeline(const CurateOptions& options);

  const Manifest& manifest() const { return manifest_; }
  std::int64_t blocks() const { return static_cast<std::int64_t>(parts_.size()); }
  std::string made_from() const;                     // a digest of all that a block depends on
  std::int64_t written() const { return written_; }  // the latest of RawSource::written()
  std::int64_t source_of_block(std::int64_t block) const { return parts_[static_cast<std::size_t>(block)].source; }
  // Writes `path` and what stands beside it: .records, .audit and .pictures.
  void make(std::int64_t block, const std::string& path) const;
  const Writer* writer() const { return rewording_->writer(); }

 private:
  struct Part {
    std::int64_t source;
    std::size_t file;
    std::int64_t block, first;  // of the file; the number in the source that its records begin with
  };
  struct Outcome;
  void run(std::vector<Outcome>& batch) const;
  void read(Outcome& o) const;
  void finish(Outcome& o) const;
  const RawSource& open(const Part& part) const;

  CurateOptions options_;
  Manifest manifest_;
  std::vector<std::vector<std::int64_t>> sizes_;  // records of each source's files
  std::vector<std::int64_t> taken_from_;          // records of each source that may be taken
  std::vector<Part> parts_;
  std::string made_from_;
  std::int64_t written_ = 0;
  std::shared_ptr<const TemplateBank> bank_;
  std::unique_ptr<const Rewording> rewording_;
  SafetyRules safety_;
  FilterRules filter_;
  mutable std::pair<std::string, std::string> opened_at_;  // its path and image_dir
  mutable std::unique_ptr<const RawSource> open_;
};

// A block as make() left it.
struct MadeBlock {
  Json audit;
  std::vector<RecordSummary> keys;
  static MadeBlock read(const std::string& path);
};

}  // namespace ov::instruct
