// Parquet files as conversations or captioned pictures: what Hugging Face's `datasets` writes, and others.
//
//   image or images               struct<bytes, path> (the Image feature), bytes alone, or a path; one or a list; null
//                                 for none. A path without bytes starts at image_dir, "" is the file's own directory.
//   conversations or messages     list<struct<from, value>> or <role, content>, or a struct of two such lists
//   caption, question, answer, id, data_source   as in data/raw/conversations.h, which says what a record means
//
// A path is a file or a directory, of which all .parquet files in and below it are taken by their names. Any record is
// read by itself: of its row group the pages that hold its pictures, and the texts, which stay in memory for the
// records beside it as long as there is room. A file or a row group that is damaged is a reject, not the end.
//
// Opening reads every file's footer. With an index beside the data (data/raw/record_index.h) a footer is read when a
// record of its file is, and the files used last stay open.
#pragma once
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "data/raw/record_index.h"
#include "data/raw/records.h"
#include "store/parquet/rows.h"

namespace ov {

// The .parquet files in or below a directory, in the order of their paths.
std::vector<std::string> parquet_files(const std::string& directory);
// A directory with such files.
bool holds_parquet(const std::string& directory);

class ParquetRecords : public Records {
 public:
  // Throws input_error: no file, no record, no column that a conversation or a caption could be in.
  explicit ParquetRecords(const std::string& path, const std::string& image_dir = "",
                          std::shared_ptr<const MappedFile> file = nullptr, UseIndex use = UseIndex::yes);

  const std::string& path() const override { return path_; }
  std::int64_t size() const override { return starts_.back(); }
  Conversation read(std::int64_t index) const override;
  std::string fingerprint() const override;  // of the footers: sizes, counts and statistics of what the columns hold
  std::int64_t written() const override;
  void write_index() const override;
  bool indexed() const override { return !fingerprint_.empty(); }
  std::string without_pictures() const override;

 private:
  using Opened = std::shared_ptr<const ParquetFile>;
  struct File {
    std::string path, fault;  // why it cannot be opened
    Opened parquet;           // null then, and with an index until it is used
  };
  struct Texts {
    std::size_t file = 0, group = 0;
    std::int64_t bytes = 0;  // on disk
    std::shared_ptr<const ParquetRows> rows;
  };
  void open_all(std::shared_ptr<const MappedFile> file);
  void use_index(const RecordIndex& index);
  std::vector<std::string> names() const;  // of the files, from path_ on
  Opened opened(std::size_t file) const;
  std::shared_ptr<const ParquetRows> texts(std::size_t file, std::size_t group, const Opened& opened) const;

  std::string path_, image_dir_, fingerprint_;  // fingerprint_: that an index says; "" without one
  std::vector<FileStamp> before_;               // without an index: the files, before they were read
  mutable std::vector<File> files_;             // under mutex_ where there is an index
  std::vector<std::int64_t> starts_ = {0};  // [files + 1] the first record of each; one that cannot be opened is one
  mutable std::mutex mutex_;
  mutable std::list<Texts> cache_;         // the latest first
  mutable std::list<std::size_t> opened_;  // of an index: files that are open, the latest first
};

}  // namespace ov
