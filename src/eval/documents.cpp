#include "eval/documents.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/base64.h"
#include "base/error.h"
#include "base/io/mapped_file.h"
#include "base/text.h"
#include "store/jsonl.h"

namespace ov {
namespace {

namespace fs = std::filesystem;

// "test" of test-00000-of-00002.parquet, of test.jsonl and of test/metadata.jsonl.
std::string split_of(const fs::path& file) {
  if (file.filename() == "metadata.jsonl") return file.parent_path().filename();
  const std::string stem = file.stem();
  const std::size_t part = stem.find("-0");
  return part != stem.npos && stem.find("-of-", part) != stem.npos ? stem.substr(0, part) : stem;
}

std::vector<std::string> files_in(const std::string& directory, const std::string& split) {
  std::map<std::string, std::map<std::string, std::vector<std::string>>> found;  // by kind and split
  try {
    for (const auto& entry : fs::recursive_directory_iterator(directory)) {
      const std::string kind = entry.path().extension();
      if (!entry.is_regular_file() || (kind != ".parquet" && kind != ".jsonl" && kind != ".json")) continue;
      const bool folder = entry.path().filename() == "metadata.jsonl";
      const bool top = entry.path().parent_path() == fs::path(directory);
      if (!folder && !top && kind != ".parquet") continue;
      std::string of = folder && top ? "" : split_of(entry.path());
      if (!split.empty() && entry.path().parent_path().filename() == split) of = split;
      found[folder ? "folder" : kind == ".parquet" ? "parquet" : "json"][of].push_back(entry.path());
    }
  } catch (const fs::filesystem_error& e) {
    const bool denied = e.code() == std::errc::permission_denied;
    throw Error(denied ? Exit::machine_failed : Exit::wrong_input,
                cat(directory, ": cannot read ", e.path1().string(), ": ", e.code().message()));
  }
  for (const char* kind : {"folder", "parquet", "json"}) {
    const auto& splits = found[kind];
    if (splits.empty()) continue;
    std::string names;
    for (const auto& [name, files] : splits) names += cat(names.empty() ? "" : ", ", name);
    const auto one = split.empty() && splits.size() == 1 ? splits.begin() : splits.find(split);
    if (one == splits.end())
      input_error(directory, ": ", split.empty() ? "several splits" : cat("no split ", shown(split)), " in it: ", names,
                  "; name one with --eval.split");
    std::vector<std::string> files = one->second;
    std::sort(files.begin(), files.end());
    return files;
  }
  input_error(directory, ": expected .parquet, .jsonl or .json files, or pictures with metadata.jsonl, found none");
}

}  // namespace

Documents::Documents(const std::string& path, const std::string& split) {
  std::error_code missing;
  const bool directory = fs::is_directory(path, missing);
  for (const std::string& file : directory ? files_in(path, split) : std::vector{path}) open(file);
  directory_ = fs::path(files_.front().path).parent_path();
  if (directory_.empty()) directory_ = ".";
  if (size() == 0) input_error(path, ": expected documents, found none");
}

void Documents::open(const std::string& path) {
  File file{.path = path};
  const std::string kind = fs::path(path).extension();
  if (kind == ".parquet") {
    file.parquet = std::make_unique<ParquetFile>(path);
    starts_.push_back(starts_.back() + file.parquet->rows());
  } else if (kind == ".arrow" || kind == ".csv" || kind == ".tsv" || kind == ".yaml") {
    input_error(path, ": expected Parquet, JSON lines or a list of JSON; `datasets` writes them with to_parquet");
  } else {
    const auto text = MappedFile::open(path);
    const std::size_t first = text->text().find_first_not_of(" \t\r\n");
    if (first != std::string_view::npos && text->text()[first] == '[') {
      file.rows = Json::parse(text->text(), path).items();
    } else {
      JsonlReader reader(path);
      for (Json row; reader.next(&row);) file.rows.push_back(std::move(row));
    }
    for (std::size_t i = 0; i < file.rows.size(); ++i)
      if (!file.rows[i].is_object())
        input_error(path, ": row ", i, ": expected an object, found ", kind_name(file.rows[i].kind()));
    starts_.push_back(starts_.back() + std::ssize(file.rows));
  }
  files_.push_back(std::move(file));
}

Json Documents::read(std::int64_t index) const {
  const auto at = std::upper_bound(starts_.begin(), starts_.end(), index) - starts_.begin() - 1;
  const File& file = files_[static_cast<std::size_t>(at)];
  const std::int64_t row = index - starts_[static_cast<std::size_t>(at)];
  if (!file.parquet) return file.rows[static_cast<std::size_t>(row)];
  std::size_t group = 0;
  const auto& groups = file.parquet->groups();
  while (row >= groups[group].first_row + groups[group].rows) ++group;
  const std::int64_t within = row - groups[group].first_row;
  const ParquetRows rows(*file.parquet, group, {}, within);
  std::string text;
  rows.append_json(
      within, [](std::string_view bytes, std::string* out) { *out += "{\"base64\":\"" + to_base64(bytes) + "\"}"; },
      &text);
  return Json::parse(text, cat(file.path, ": row ", row));
}

std::string Documents::picture(const Json& value) const {
  if (value.is_object()) {
    if (const Json* text = value.find("base64")) return text->as_string();
    for (const char* key : {"bytes", "path"})
      if (const Json* inner = value.find(key); inner && !inner->is_null()) return picture(*inner);
  }
  if (!value.is_string()) input_error("picture: expected bytes or a path, found ", value.shown(40));
  const std::string& text = value.as_string();
  std::error_code missing;
  for (const fs::path& path : {fs::path(directory_) / text, fs::path(directory_) / "images" / text}) {
    if (text.size() >= 1000 || !fs::is_regular_file(path, missing)) continue;
    // What is asked may go to a server: a row names pictures of its own data set, and no other file of this machine.
    const fs::path inside = fs::canonical(path, missing), all = fs::canonical(directory_, missing);
    if (std::mismatch(all.begin(), all.end(), inside.begin(), inside.end()).first != all.end())
      input_error("picture: ", shown(text), " is not below ", directory_);
    return to_base64(MappedFile::open(path)->text());
  }
  if (text.size() < 64 || text.find_first_of(".:") != text.npos)
    input_error("picture: no file ", shown(text), " in ", directory_);
  return to_base64(from_base64(text));
}

}  // namespace ov
