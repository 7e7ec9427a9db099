#include "data/raw/parquet_records.h"

#include <algorithm>
#include <filesystem>

#include "base/sha256.h"
#include "base/text.h"
#include "data/raw/picture_file.h"
#include "data/reject.h"

namespace ov {
namespace {

const std::vector<std::string> picture_columns = {"image", "images"};
const std::vector<std::string> text_columns = {"conversations", "messages", "caption", "question", "answer", "id",
                                               "data_source",   "source",   "video",   "videos"};
constexpr const char* index_kind = "parquet";
constexpr std::size_t most_opened = 64;          // files
constexpr std::int64_t cached_bytes = 64 << 20;  // on disk; texts become a few times as long

// {from: [a, b], value: [c, d]} as [{from: a, value: c}, {from: b, value: d}].
Json turned(const Json& lists, const std::string& where) {
  Json out = Json::array();
  for (const auto& [key, list] : lists.members()) {
    if (!list.is_array())
      malformed(where, "conversations: expected a list of messages, or a list for each of their keys");
    if (list.size() != lists.members()[0].second.size()) malformed(where, "conversations: lists of different lengths");
  }
  for (std::size_t i = 0; lists.size() && i < lists.members()[0].second.size(); ++i) {
    Json message = Json::object();
    for (const auto& [key, list] : lists.members()) message.set(key, list[i]);
    out.push(std::move(message));
  }
  return out;
}

std::string type_of(const ParquetFile& file, const ParquetNode& node) {
  if (node.kind == ParquetNode::Kind::leaf) {
    switch (const ParquetLeaf& leaf = file.leaves()[static_cast<std::size_t>(node.first_leaf)]; leaf.meaning) {
      case ParquetMeaning::boolean: return "boolean";
      case ParquetMeaning::integer:
      case ParquetMeaning::unsigned_integer: return "integer";
      case ParquetMeaning::real:
      case ParquetMeaning::half: return "real";
      case ParquetMeaning::text: return "text";
      case ParquetMeaning::binary: return "bytes";
      default: return leaf.width ? "number" : "unknown";
    }
  }
  std::string inside;
  for (const ParquetNode& child : node.children) {
    const std::string name = node.kind == ParquetNode::Kind::structure ? child.name + " " : "";
    inside += (inside.empty() ? "" : ", ") + name + type_of(file, child);
  }
  return (node.kind == ParquetNode::Kind::list  ? "list<"
          : node.kind == ParquetNode::Kind::map ? "map<"
                                                : "struct<") +
         inside + ">";
}

// Every column and its type, "id text, image struct<bytes bytes, path text>".
std::string columns_of(const ParquetFile& file) {
  std::string out;
  for (const ParquetNode& column : file.root().children)
    out += (out.empty() ? "" : ", ") + column.name + " " + type_of(file, column);
  return shown(out, 600);
}

bool has_one_of(const ParquetFile& file, const std::vector<std::string>& names) {
  return std::any_of(file.root().children.begin(), file.root().children.end(), [&](const ParquetNode& column) {
    return std::find(names.begin(), names.end(), column.name) != names.end();
  });
}

}  // namespace

std::vector<std::string> parquet_files(const std::string& directory) {
  std::vector<std::string> out;
  try {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory))
      if (entry.path().extension() == ".parquet" && entry.is_regular_file()) out.push_back(entry.path());
  } catch (const std::filesystem::filesystem_error& e) {
    machine_error(directory, ": cannot be listed: ", e.code().message());
  }
  std::sort(out.begin(), out.end());
  return out;
}

bool holds_parquet(const std::string& directory) { return !parquet_files(directory).empty(); }

ParquetRecords::ParquetRecords(const std::string& path, const std::string& image_dir,
                               std::shared_ptr<const MappedFile> file, UseIndex use)
    : path_(path), image_dir_(image_dir) {
  std::error_code missing;
  const auto paths =
      std::filesystem::is_directory(path, missing) ? parquet_files(path) : std::vector<std::string>{path};
  for (const std::string& one : paths) files_.push_back({one, "", nullptr});
  const auto index = use == UseIndex::yes ? RecordIndex::open(path, index_kind, names()) : std::nullopt;
  if (index) {
    use_index(*index);
    return;
  }
  before_ = RecordIndex::before_reading(path, names());
  open_all(std::move(file));
}

void ParquetRecords::open_all(std::shared_ptr<const MappedFile> file) {
  bool any = false;
  for (File& f : files_) {
    try {
      f.parquet = std::make_shared<const ParquetFile>(file ? std::move(file) : MappedFile::open(f.path));
    } catch (const Error& e) {
      if (e.exit() != Exit::wrong_input || files_.size() == 1) throw;
      f.fault = e.what();
    }
    starts_.push_back(starts_.back() + (f.parquet ? f.parquet->rows() : 1));
    if (!f.parquet) continue;
    if (!has_one_of(*f.parquet, {"conversations", "messages", "caption", "question"}))
      input_error(f.path, ": expected a column conversations, messages, caption or question, found ",
                  columns_of(*f.parquet),
                  "; these names are fixed, no key chooses others: rename the column of the texts");
    any = any || f.parquet->rows() > 0;
  }
  if (!any) input_error(path_, ": no record in ", files_.size(), " Parquet file(s)");
}

void ParquetRecords::use_index(const RecordIndex& index) {
  fingerprint_ = index.fingerprint();
  const auto rows = index.column<std::int64_t>("rows", static_cast<std::int64_t>(files_.size()));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::int64_t end = 0;
    if (rows[i] < 0 || __builtin_add_overflow(starts_.back(), rows[i], &end))
      index.damaged(cat("rows of ", files_[i].path, ": ", rows[i]));
    starts_.push_back(end);
  }
  const Json faults = index.json("faults");
  const std::vector<std::string> all = names();
  for (std::size_t i = 0; i < files_.size(); ++i)
    if (const Json* fault = faults.find(all[i]); fault && fault->is_string()) files_[i].fault = fault->as_string();
}

std::string ParquetRecords::without_pictures() const {
  std::string found;
  for (std::size_t f = 0; f < files_.size(); ++f) {
    const Opened parquet = opened(f);
    if (!parquet) continue;
    if (has_one_of(*parquet, picture_columns)) return "";
    if (found.empty()) found = cat(files_[f].path, ": expected a column image or images, found ", columns_of(*parquet));
  }
  return found.empty() ? ""
                       : found + "; these names are fixed, no key chooses others: rename the column of the pictures";
}

// Of a directory's files without it, however many slashes it was given with.
std::vector<std::string> ParquetRecords::names() const {
  std::vector<std::string> out;
  for (const File& f : files_)
    out.push_back(f.path == path_ ? "" : f.path.substr(f.path.find_first_not_of('/', path_.size())));
  return out;
}

void ParquetRecords::write_index() const {
  std::vector<std::int64_t> rows;
  Json faults = Json::object();
  const std::vector<std::string> all = names();
  for (std::size_t i = 0; i < files_.size(); ++i) {
    rows.push_back(starts_[i + 1] - starts_[i]);
    if (!files_[i].fault.empty()) faults.set(all[i], files_[i].fault);
  }
  RecordIndex::write(path_, index_kind, before_, {{"rows", Column(rows).tensor()}},
                     {{"fingerprint", fingerprint()}, {"faults", faults.dump()}});
}

ParquetRecords::Opened ParquetRecords::opened(std::size_t file) const {
  if (fingerprint_.empty()) return files_[file].parquet;
  const std::lock_guard lock(mutex_);
  File& f = files_[file];
  if (f.parquet) {
    opened_.remove(file);
  } else {
    if (!f.fault.empty()) return nullptr;
    const auto parquet = std::make_shared<const ParquetFile>(MappedFile::open(f.path));
    if (const std::int64_t rows = starts_[file + 1] - starts_[file]; parquet->rows() != rows)
      input_error(f.path, ": ", parquet->rows(), " rows, and its index says ", rows);
    f.parquet = parquet;
  }
  opened_.push_front(file);
  if (opened_.size() > most_opened) files_[opened_.back()].parquet = nullptr, opened_.pop_back();
  return f.parquet;
}

std::shared_ptr<const ParquetRows> ParquetRecords::texts(std::size_t file, std::size_t group,
                                                         const Opened& opened) const {
  {
    const std::lock_guard lock(mutex_);
    for (auto t = cache_.begin(); t != cache_.end(); ++t)
      if (t->file == file && t->group == group) {
        cache_.splice(cache_.begin(), cache_, t);
        return t->rows;
      }
  }
  const ParquetFile& parquet = *opened;
  struct Held {  // rows look into their file
    Opened file;
    ParquetRows rows;
  };
  const auto held = std::make_shared<const Held>(Held{opened, ParquetRows(parquet, group, text_columns)});
  Texts texts{file, group, 0, std::shared_ptr<const ParquetRows>(held, &held->rows)};
  for (const ParquetNode& column : parquet.root().children)
    if (std::find(text_columns.begin(), text_columns.end(), column.name) != text_columns.end())
      for (int l = column.first_leaf; l < column.first_leaf + column.leaves; ++l)
        texts.bytes += parquet.groups()[group].chunks[static_cast<std::size_t>(l)].size;
  const std::lock_guard lock(mutex_);
  cache_.push_front(texts);
  std::int64_t bytes = 0;
  for (auto t = cache_.begin(); t != cache_.end();) {
    bytes += t->bytes;
    t = bytes > cached_bytes && t != cache_.begin() ? cache_.erase(t) : std::next(t);
  }
  return texts.rows;
}

Conversation ParquetRecords::read(std::int64_t index) const {
  if (index < 0 || index >= size()) input_error(path_, ": record ", index, " of ", size());
  const auto above = std::upper_bound(starts_.begin(), starts_.end(), index);
  const auto f = static_cast<std::size_t>(above - starts_.begin()) - 1;
  const File& file = files_[f];
  const Opened parquet = or_reject(RejectReason::damaged_shard, "", [&] { return opened(f); });
  if (!parquet) reject(RejectReason::damaged_shard, file.fault);
  const std::int64_t row_of_file = index - starts_[f];
  const auto& groups = parquet->groups();
  const auto g = static_cast<std::size_t>(
      std::upper_bound(groups.begin(), groups.end(), row_of_file,
                       [](std::int64_t row, const ParquetGroup& group) { return row < group.first_row; }) -
      groups.begin() - 1);
  const std::int64_t row = row_of_file - groups[g].first_row;

  Conversation out;
  out.where = cat(file.path, ": row ", row_of_file + 1);
  std::vector<std::string_view> views;
  auto memory = std::make_shared<std::vector<std::shared_ptr<const void>>>();
  std::string text, pictures;
  const auto view = [&](std::string_view bytes, std::string* to) {
    *to += std::to_string(views.size());
    views.push_back(bytes);
  };
  or_reject(RejectReason::damaged_shard, "", [&] {
    texts(f, g, parquet)->append_json(row, view, &text);
    views.clear();  // of texts there are none
    const ParquetRows rows(*parquet, g, picture_columns, row);
    *memory = rows.memory();
    rows.append_json(row, view, &pictures);
  });

  Json record = Json::parse(text, out.where);
  if (const Json* id = record.find("id"); id && (id->is_string() || id->is_number()))
    out.where += cat(" (id ", id->shown(), ")");
  for (const char* key : {"video", "videos"})
    if (const Json* video = record.find(key); video && !video->is_null() && video->dump() != "[]")
      malformed(out.where, "has a \"", key, "\"; only pictures are read");
  for (const char* key : {"conversations", "messages"})
    if (const Json* lists = record.find(key); lists && lists->is_object()) record.set(key, turned(*lists, out.where));

  const std::string directory = image_dir_.empty() ? parent_directory(file.path) : image_dir_;
  const std::function<void(const Json&)> add = [&](const Json& picture) {
    const Json *bytes = picture.is_object() ? picture.find("bytes") : &picture, *path = &picture;
    if (picture.is_object()) path = picture.find("path");
    if (picture.is_array()) {
      for (const Json& one : picture.items()) add(one);
    } else if (bytes && bytes->is_integer()) {
      out.images.push_back(path && path->is_string() ? path->as_string() : cat("picture ", out.images.size() + 1));
      out.image_bytes.push_back(views.at(static_cast<std::size_t>(bytes->as_int())));
    } else if (path && path->is_string() && !path->as_string().empty()) {
      out.images.push_back(picture_path(*path, directory, out.where));
      const auto opened = open_picture(out.images.back(), out.where);
      out.image_bytes.push_back(opened->text());
      memory->push_back(opened);
    }
  };
  const Json parts = Json::parse(pictures, out.where);
  for (const auto& [key, value] : parts.members()) add(value);
  out.memory = memory;
  out.turns = turns_of(record, out.images.size(), out.where);
  out.source = source_of(record, path_);
  place_pictures(out);
  out.record = std::make_shared<const Json>(std::move(record));
  return out;
}

std::string ParquetRecords::fingerprint() const {
  if (!fingerprint_.empty()) return fingerprint_;
  Sha256 hash;
  const std::vector<std::string> all = names();
  for (std::size_t i = 0; i < files_.size(); ++i) {
    const std::string name = all[i].empty() ? "" : "/" + all[i];
    hash.update(name.data(), name.size() + 1);
    if (const Opened& p = files_[i].parquet) hash.update(p->footer().data(), p->footer().size());
  }
  return hash.hex();
}

std::int64_t ParquetRecords::written() const {
  std::vector<std::string> paths;
  for (const File& f : files_) paths.push_back(f.path);
  return last_written(paths);
}

}  // namespace ov
