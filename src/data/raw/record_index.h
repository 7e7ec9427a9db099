// What opening a data set finds out, kept beside it in DATA.ovindex, which `onevision index` writes: where every record
// begins, and the fingerprint of them all. Opening maps that file in place of reading the data through, so neither its
// time nor its memory grows with the number of records.
//
//   data.jsonl     data.jsonl.ovindex       begin, line        i64 [N]     data/raw/json_records.h
//   shards/        shards.ovindex           begin, end         i64 [N]     data/raw/webdataset.h
//                                           shard, item        i32 [N]
//   tables/        tables.ovindex           rows               i64 [files] data/raw/parquet_records.h
//
// The file is safetensors. Its metadata says what else the kind of data needs, and of every file of the data its size,
// time of change and a digest of its first and last 4 KiB. An index is used where all of these are as they were; where
// one is not it is refused by name, since records would be looked for where they are no more. What was changed in the
// middle of a file whose size and time stayed is not seen; such a record is malformed when it is read.
//
// Only the part "train" of a webdataset with .nv-meta has this name; another has DATA.PART.ovindex.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "data/column.h"
#include "store/safetensors.h"

namespace ov {

// Whether a data set is opened with the index that stands beside it, or read through as if there was none.
enum class UseIndex { yes, no };

// What tells whether a file is the one that was indexed.
struct FileStamp {
  std::string name;                  // inside the data set; "" of a file that is the data set
  std::int64_t size = -1, time = 0;  // bytes, -1: there is no such file; nanoseconds since 1970
  std::string ends;                  // 16 hex digits
  bool operator==(const FileStamp&) const = default;
  // As it is: with ends, or for comparison before and after it was read, without.
  static FileStamp of(const std::string& path, const std::string& name, bool with_ends = true);
};

// When the latest of some files was written, ns since 1970; a time that is still to come says nothing and is 0, as that
// of a file that is not there.
std::int64_t last_written(const std::vector<std::string>& paths);
// Whether a file that was made of such data may be older than they are: the clock of files ticks every few ms.
bool written_before(const std::string& path, std::int64_t data_written);

class RecordIndex {
 public:
  static std::string path_of(const std::string& data, const std::string& part = "train");
  // Nothing when there is no index. Throws input_error that names it: damaged, of another kind, or stale.
  // `names`: the files that the data set has now, relative to `data`; {""}: it is one file.
  static std::optional<RecordIndex> open(const std::string& data, const std::string& kind,
                                         const std::vector<std::string>& names, const std::string& part = "train");
  // The files without their ends, as whoever reads them through must take them before he does.
  static std::vector<FileStamp> before_reading(const std::string& data, const std::vector<std::string>& names);
  // Durable; an earlier index is replaced. input_error where a file of that name is no index, and where a file of the
  // data was changed since before_reading: what was read is not what stands there.
  static void write(const std::string& data, const std::string& kind, const std::vector<FileStamp>& before,
                    std::vector<NamedTensor> tensors, Metadata metadata, const std::string& part = "train");

  const std::string& path() const { return file_.path(); }
  const std::string& said(const std::string& key) const;  // metadata; input_error when it is missing
  Json json(const std::string& key) const;                // the same, parsed
  const std::string& fingerprint() const;                 // of the records, as Records::fingerprint has it
  // A column that says something of each record, or of each of `size` things. input_error: missing, another shape.
  template <class T>
  Column<T> column(const std::string& name, std::int64_t size = -1) const {
    return Column<T>(checked(name, dtype_of<T>(), size));
  }
  [[noreturn]] void damaged(const std::string& what) const;

 private:
  explicit RecordIndex(Safetensors file) : file_(std::move(file)) {}
  Tensor checked(const std::string& name, Dtype dtype, std::int64_t size) const;

  Safetensors file_;
  std::string data_;  // what it is an index of
};

}  // namespace ov
