// Raw data sets behind one door: numbered records, read one by one.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "data/raw/conversations.h"

namespace ov {

class Mixture;

class Records {
 public:
  virtual ~Records() = default;
  virtual const std::string& path() const = 0;
  virtual std::int64_t size() const = 0;
  // 0 <= index < size(). Throws Rejected. Safe from several threads.
  virtual Conversation read(std::int64_t index) const = 0;
  // 64 hex digits that change with the number, order or text of the records. Pictures in files of their own are not
  // read for it, and of a tar shard the members' names and places, of a Parquet file its footer.
  virtual std::string fingerprint() const = 0;
  // When files of which the fingerprint reads a part alone were last written, ns since 1970; 0: it reads them whole.
  virtual std::int64_t written() const { return 0; }
  // In which order and how often they come (data/mixture.h); null: each once an epoch.
  virtual std::shared_ptr<const Mixture> mixture() const { return nullptr; }
  // Writes what this opening found out beside the data (data/raw/record_index.h). The data must not change meanwhile.
  virtual void write_index() const = 0;
  // Why none of its records can have a picture; "": they may.
  virtual std::string without_pictures() const { return ""; }
  virtual bool indexed() const = 0;  // opened with the index that stands there
};

// What a data set is called in ids and manifests, the last part of its path: the same in whatever directory one stands.
std::string set_name(const std::string& path);

// Parquet files, or a directory of them, are data/raw/parquet_records.h; another directory or a tar archive is a
// webdataset (data/raw/webdataset.h), any other file a conversation file (data/raw/conversations.h). Relative image
// paths start at image_dir; "" is the file's own directory. A .yaml or .yml is a mixture of such
// (data/raw/blended_records.h). `split`: which part of a webdataset that has .nv-meta. Where an index stands beside a
// set it is used, or refused because it is stale, unless `use` says not to look.
std::unique_ptr<Records> open_records(const std::string& path, const std::string& image_dir = "",
                                      const std::string& split = "train", UseIndex use = UseIndex::yes);

// `onevision index`: writes the index beside a data set, of a mixture beside each of its sets, unless one stands there
// that fits. Throws input_error as open_records does, and where a file of that name is no index.
struct IndexedRecords {
  std::int64_t records = 0;
  bool written = false;  // false: it was there and fits
};
IndexedRecords index_records(const std::string& path);

}  // namespace ov
