#include "curate/drawn_rows.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/json.h"
#include "data/made_again.h"
#include "data/raw/drawn_records.h"
#include "store/parquet/rows.h"

namespace ov {
namespace {

constexpr std::int64_t most_records = std::int64_t{1} << 40;  // a bit each: 128 GB of one source

}  // namespace

std::vector<bool> drawn_rows(const EmbeddingPool& pool, const std::string& manifest) {
  const ParquetFile file =
      or_make_again("draw it again (onevision dedup or balance)", [&] { return ParquetFile(manifest); });
  for (const std::string name : {"source", "record", "draws"})
    if (std::none_of(file.leaves().begin(), file.leaves().end(), [&](const auto& l) { return l.dotted() == name; }))
      input_error(manifest, ": has no column ", name, "; expected a manifest as dedup and balance write it");
  for (const auto& [source, now] : pool.sources())
    if (const std::string then = drawn_fingerprint(file, source); !then.empty() && then != now)
      input_error(manifest, ": was drawn from another ", source, " than the one that is embedded; draw it again");

  std::map<std::string, std::vector<bool>> drawn;  // by source, by record
  for (std::size_t g = 0; g < file.groups().size(); ++g) {
    const ParquetRows rows(file, g, {"source", "record", "draws"});
    for (std::int64_t r = 0; r < file.groups()[g].rows; ++r) {
      std::string text;
      rows.append_json(
          r, [](std::string_view, std::string* out) { *out += "null"; }, &text);
      const std::string where = cat(manifest, ": row ", file.groups()[g].first_row + r);
      const Json row = Json::parse(text, where);
      const std::int64_t record = row.at("record").as_int();
      if (record < 0 || record >= most_records) input_error(where, ": record ", record);
      if (row.at("draws").as_int() <= 0) continue;
      std::vector<bool>& records = drawn[row.at("source").as_string()];
      if (record >= std::ssize(records)) records.resize(static_cast<std::size_t>(record + record / 2 + 1));
      records[static_cast<std::size_t>(record)] = true;
    }
  }
  std::vector<bool> out(static_cast<std::size_t>(pool.size));
  bool any = false;
  for (const auto& part : pool.parts) {
    const Embeddings& f = pool.files[part.file];
    for (std::int64_t row = part.begin; row < part.end; ++row) {
      const auto records = drawn.find(f.source(row));
      const std::int64_t record = f.record(row);
      if (records == drawn.end() || record < 0 || record >= std::ssize(records->second)) continue;
      const bool is = records->second[static_cast<std::size_t>(record)];
      out[static_cast<std::size_t>(part.first + row - part.begin)] = is, any = any || is;
    }
  }
  if (!any)
    input_error(manifest, ": draws none of the pictures that are embedded",
                drawn.empty() ? "" : cat("; it draws from ", drawn.begin()->first));
  return out;
}

}  // namespace ov
