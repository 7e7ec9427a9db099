#include "data/raw/drawn_records.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/sha256.h"
#include "base/text.h"
#include "data/made_again.h"
#include "store/parquet/rows.h"

namespace ov {
namespace {

constexpr const char* drawn_from_key = "onevision.sources";

class DrawnRecords : public Records {
 public:
  DrawnRecords(std::unique_ptr<const Records> all, std::vector<std::int64_t> which)
      : all_(std::move(all)), which_(std::move(which)) {}
  const std::string& path() const override { return all_->path(); }
  std::int64_t size() const override { return static_cast<std::int64_t>(which_.size()); }
  Conversation read(std::int64_t i) const override { return all_->read(which_[static_cast<std::size_t>(i)]); }
  std::string fingerprint() const override {
    std::string text = all_->fingerprint();
    text.append(reinterpret_cast<const char*>(which_.data()), which_.size() * sizeof which_[0]);
    return sha256(text);
  }
  std::int64_t written() const override { return all_->written(); }
  void write_index() const override { all_->write_index(); }
  bool indexed() const override { return all_->indexed(); }

 private:
  const std::unique_ptr<const Records> all_;
  const std::vector<std::int64_t> which_;
};

}  // namespace

std::string drawn_fingerprint(const ParquetFile& manifest, const std::string& source) {
  const std::string_view said = manifest.metadata(drawn_from_key);
  if (said.empty()) return "";
  const Json drawn = Json::parse(said, cat("metadata ", drawn_from_key));
  const Json* fingerprint = drawn.is_object() ? drawn.find(source) : nullptr;
  return fingerprint && fingerprint->is_string() ? fingerprint->as_string() : "";
}

std::unique_ptr<const Records> drawn_records(std::unique_ptr<const Records> all, const std::string& manifest) {
  if (manifest.empty()) return all;
  if (all->mixture())
    input_error(all->path(), ": is a mixture, which says itself how often a record comes; ", manifest,
                " draws from a data set alone");
  const ParquetFile file =
      or_make_again("draw it again (onevision balance or dedup)", [&] { return ParquetFile(manifest); });
  for (const std::string name : {"source", "record", "draws"})
    if (std::none_of(file.leaves().begin(), file.leaves().end(), [&](const auto& l) { return l.dotted() == name; }))
      input_error(manifest, ": has no column ", name, "; expected a manifest as balance and dedup write it");
  // Its rows name the set by the last part of its path, in older manifests by the path as it was typed; one that was
  // moved or renamed since is known by its content.
  std::string name = set_name(all->path());
  bool by_path = true;
  if (const std::string_view sources = file.metadata(drawn_from_key); !sources.empty())
    if (const Json drawn = Json::parse(sources, cat(manifest, ": metadata ", drawn_from_key)); drawn.is_object()) {
      const std::string own = all->fingerprint();
      const Json* then = drawn.find(name);
      if (!then && (then = drawn.find(all->path()))) name = all->path();
      for (const auto& [source, fingerprint] : drawn.members())
        if (!then && fingerprint.as_string() == own) then = &fingerprint, name = source;
      if (then && then->as_string() != own)
        input_error(all->path(), ": has changed since ", manifest, " was drawn from it; draw again");
      by_path = !then;
    }
  std::vector<std::int64_t> which;
  std::string others;
  for (std::size_t g = 0; g < file.groups().size(); ++g) {
    const ParquetRows rows(file, g, {"source", "record", "draws"});
    for (std::int64_t r = 0; r < file.groups()[g].rows; ++r) {
      std::string text;
      rows.append_json(
          r, [](std::string_view, std::string* out) { *out += "null"; }, &text);
      const Json row = Json::parse(text, cat(manifest, ": row ", file.groups()[g].first_row + r));
      const std::string& source = row.at("source").as_string();
      if (source != name && !(by_path && source == all->path())) {
        others = source;
        continue;
      }
      const std::int64_t record = row.at("record").as_int(), draws = row.at("draws").as_int();
      if (draws < 0 || draws > most_draws)
        input_error(manifest, ": row ", file.groups()[g].first_row + r, " has ", draws, " draws, expected 0 to ",
                    most_draws);
      if (record < 0 || record >= all->size())
        input_error(manifest, ": row ", file.groups()[g].first_row + r, " is record ", record, " of ", source,
                    ", which holds ", all->size(), "; draw again from what it holds now");
      which.insert(which.end(), static_cast<std::size_t>(draws), record);
    }
  }
  if (which.empty())
    input_error(
        manifest, ": it draws no record of ", all->path(),
        others.empty() ? "" : "; its rows are of " + shown(others) + ": name the data set as it was named there");
  return std::make_unique<DrawnRecords>(std::move(all), std::move(which));
}

std::vector<std::pair<std::string, std::string>> drawn_from(
    const std::vector<std::pair<std::string, std::string>>& sources) {
  if (sources.empty()) return {};
  Json all = Json::object();
  for (const auto& [path, fingerprint] : sources) all.set(path, fingerprint);
  return {{drawn_from_key, all.dump()}};
}

}  // namespace ov
