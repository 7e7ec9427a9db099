// The rows of a manifest, Parquet as every verb of src/curate writes it.
#pragma once
#include "base/json.h"
#include "store/parquet/rows.h"

namespace ov::test {

inline std::vector<Json> manifest(const std::string& path) {
  const ParquetFile file(path);
  std::vector<Json> rows;
  for (std::size_t g = 0; g < file.groups().size(); ++g) {
    const ParquetRows group(file, g);
    for (std::int64_t i = 0; i < file.groups()[g].rows; ++i) {
      std::string text;
      group.append_json(
          i, [](std::string_view, std::string*) {}, &text);
      rows.push_back(Json::parse(text, path));
    }
  }
  return rows;
}

}  // namespace ov::test
