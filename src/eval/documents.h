// The documents of a public task on this disk, as lmms-eval takes them: a Parquet file, JSON lines or a list of JSON, a
// directory of either, or a folder of pictures with its metadata.jsonl ("file_name" is the picture).
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "store/parquet/rows.h"

namespace ov {

class Documents {
 public:
  // `split`: of a directory's files those whose names begin with it, or which lie in a directory of that name; "" where
  // all are of one. Throws input_error: nothing there, another kind of file, several splits and none named.
  explicit Documents(const std::string& path, const std::string& split = "");

  std::int64_t size() const { return starts_.back(); }
  // Bytes that the row holds stand as {"base64": TEXT}; other values as store/parquet/rows.h and the file have them.
  Json read(std::int64_t index) const;
  // The file of a picture, in base64, whatever form the row gives it: bytes, {"bytes", "path"}, a path beside the file
  // or in its "images", or base64 itself. Throws input_error where there is none.
  std::string picture(const Json& value) const;

 private:
  struct File {
    std::string path;
    std::unique_ptr<ParquetFile> parquet = nullptr;
    std::vector<Json> rows = {};  // of JSON
  };
  void open(const std::string& path);

  std::vector<File> files_;
  std::vector<std::int64_t> starts_ = {0};  // [files + 1]
  std::string directory_;                   // that paths of pictures start at
};

}  // namespace ov
