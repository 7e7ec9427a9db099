#include "base/error.h"
#include "cli/verbs.h"
#include "data/raw/records.h"

namespace ov::cli {

Exit index(const Config& config) {
  use_threads(config);
  const Strings paths = config.required_list("index.data");
  for (const std::string& path : paths) {
    const IndexedRecords done = index_records(path);
    print(cat(path, ": ", done.records, " records; its index ", done.written ? "is written" : "stands already", "\n"));
  }
  return Exit::done;
}

}  // namespace ov::cli
