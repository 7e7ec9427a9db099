#include "data/raw/record_index.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/parallel.h"
#include "base/sha256.h"
#include "data/made_again.h"

namespace ov {
namespace {

constexpr const char* format = "onevision record index 1";
constexpr std::int64_t end_bytes = 4096;

const std::string& metadata_of(const Safetensors& file, const std::string& key) {
  static const std::string none;
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? none : found->second;
}

std::string path_in(const std::string& data, const std::string& name) {
  return name.empty() ? data : data + "/" + name;
}

std::vector<FileStamp> stamps_of(const std::string& data, const std::vector<std::string>& names,
                                 bool with_ends = true) {
  std::vector<FileStamp> out(names.size());
  parallel_for(static_cast<std::int64_t>(names.size()), [&](std::int64_t i) {
    const std::string& name = names[static_cast<std::size_t>(i)];
    out[static_cast<std::size_t>(i)] = FileStamp::of(path_in(data, name), name, with_ends);
  });
  return out;
}

Json json_of(const std::vector<FileStamp>& stamps) {
  Json list = Json::array();
  for (const FileStamp& s : stamps)
    list.push(Json::object({{"name", s.name}, {"size", s.size}, {"time", s.time}, {"ends", s.ends}}));
  return list;
}

// `onevision index` replaces no file that it cannot read, so a damaged one has to go first.
std::string remedy_of(const std::string& data) {
  return cat("remove it, and make it again if start-up shall stay short (onevision index --data ", data, ")");
}

// What of a file is not as it was; "" when all is.
std::string difference(const FileStamp& was, const FileStamp& is) {
  if (is.size != was.size) {
    const auto bytes = [](std::int64_t n) { return n < 0 ? std::string("is not there") : cat("has ", n, " bytes"); };
    return cat("it ", bytes(is.size), ", and when it was indexed it ",
               was.size < 0 ? "was not there" : bytes(was.size));
  }
  if (is.time != was.time) return "it was written again after it was indexed";
  if (is.ends != was.ends) return "its first or last bytes are others than when it was indexed";
  return "";
}

}  // namespace

FileStamp FileStamp::of(const std::string& path, const std::string& name, bool with_ends) {
  FileStamp s{.name = name, .ends = ""};
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return s;
  if (!S_ISREG(info.st_mode)) {
    if (!with_ends) return s;  // a pipe may be read; nothing can be kept of it
    input_error(path, ": is no regular file, so nothing can be kept of it");
  }
  s.size = info.st_size;
  s.time = std::int64_t{info.st_mtim.tv_sec} * 1000000000 + info.st_mtim.tv_nsec;
  if (!with_ends) return s;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) path_error(path, "open");
  std::string ends(static_cast<std::size_t>(2 * end_bytes), '\0');
  const ssize_t head = ::pread(fd, ends.data(), end_bytes, 0);
  const ssize_t tail = ::pread(fd, ends.data() + end_bytes, end_bytes, std::max<std::int64_t>(0, s.size - end_bytes));
  ::close(fd);
  if (head < 0 || tail < 0) path_error(path, "read");
  s.ends = sha256(ends).substr(0, 16);
  return s;
}

std::int64_t last_written(const std::vector<std::string>& paths) {
  using namespace std::chrono;
  const std::int64_t now = duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count();
  std::int64_t last = 0;
  for (const std::string& path : paths)
    if (const std::int64_t time = FileStamp::of(path, "", false).time; time <= now) last = std::max(last, time);
  return last;
}

bool written_before(const std::string& path, std::int64_t data_written) {
  return data_written > 0 && FileStamp::of(path, "", false).time <= data_written;
}

std::string RecordIndex::path_of(const std::string& data, const std::string& part) {
  return without_slash(data) + (part == "train" ? "" : "." + part) + ".ovindex";
}

std::optional<RecordIndex> RecordIndex::open(const std::string& data, const std::string& kind,
                                             const std::vector<std::string>& names, const std::string& part) {
  const std::string path = path_of(data, part);
  if (!path_exists(path)) return std::nullopt;
  RecordIndex index(or_make_again(remedy_of(data), [&] { return Safetensors::open(path); }));
  index.data_ = data;
  if (const std::string& found = metadata_of(index.file_, "format"); found != format)
    input_error(path, ": format '", found, "', expected '", format, "'; ", remedy_of(data));
  const auto stale = [&](const std::string& what) {
    input_error(path, ": does not fit the data: ", what, "; make it anew (onevision index --data ", data,
                "), or remove it");
  };
  if (index.said("kind") != kind) stale(cat("it is of ", index.said("kind"), ", and ", data, " is ", kind));
  std::vector<FileStamp> was;
  try {
    const Json files = index.json("files");
    for (const Json& f : files.items())
      was.push_back({f.at("name").as_string(), f.at("size").as_int(), f.at("time").as_int(), f.at("ends").as_string()});
  } catch (const Error& e) { index.damaged(e.what()); }
  for (std::size_t i = 0; i < std::max(was.size(), names.size()); ++i) {
    if (i < was.size() && i < names.size() && was[i].name == names[i]) continue;
    const bool fewer = i == names.size() || (i < was.size() && was[i].name < names[i]);
    stale(cat(path_in(data, fewer ? was[i].name : names[i]), fewer ? " is no longer part of it" : " has come to it"));
  }
  const std::vector<FileStamp> is = stamps_of(data, names);
  for (std::size_t i = 0; i < is.size(); ++i)
    if (const std::string what = difference(was[i], is[i]); !what.empty())
      stale(cat(path_in(data, names[i]), ": ", what));
  return index;
}

std::vector<FileStamp> RecordIndex::before_reading(const std::string& data, const std::vector<std::string>& names) {
  return stamps_of(data, names, false);
}

void RecordIndex::write(const std::string& data, const std::string& kind, const std::vector<FileStamp>& before,
                        std::vector<NamedTensor> tensors, Metadata metadata, const std::string& part) {
  const std::string path = path_of(data, part);
  const auto earlier = [&] { return or_make_again(remedy_of(data), [&] { return Safetensors::open(path); }); };
  if (path_exists(path) && metadata_of(earlier(), "format") != format)
    input_error(path, ": is no index of records, so it is not replaced; move it away");
  metadata["format"] = format;
  metadata["kind"] = kind;
  std::vector<std::string> names;
  for (const FileStamp& f : before) names.push_back(f.name);
  const std::vector<FileStamp> now = stamps_of(data, names);
  for (std::size_t i = 0; i < now.size(); ++i)
    if (now[i].size != before[i].size || now[i].time != before[i].time)
      input_error(path_in(data, names[i]), ": was changed while it was indexed; index it when it is whole");
  metadata["files"] = json_of(now).dump();
  write_safetensors(path, std::move(tensors), metadata);
}

const std::string& RecordIndex::said(const std::string& key) const {
  const auto found = file_.metadata().find(key);
  if (found == file_.metadata().end()) damaged(cat("__metadata__ has no '", key, "'"));
  return found->second;
}

const std::string& RecordIndex::fingerprint() const {
  const std::string& text = said("fingerprint");
  if (text.size() != 64 || text.find_first_not_of("0123456789abcdef") != text.npos)
    damaged(cat("fingerprint '", text, "' is not 64 hex digits"));
  return text;
}

Json RecordIndex::json(const std::string& key) const {
  return or_make_again(remedy_of(data_), [&] { return Json::parse(said(key), cat(path(), ": ", key)); });
}

void RecordIndex::damaged(const std::string& what) const {
  const std::string remedy = "; " + remedy_of(data_);  // `what` may be the message of json() or column()
  input_error(what.starts_with(path()) ? "" : path() + ": ", what, what.ends_with(remedy) ? "" : remedy);
}

Tensor RecordIndex::checked(const std::string& name, Dtype dtype, std::int64_t size) const {
  if (!file_.find(name)) damaged(cat("it has no tensor '", name, "'"));
  const Tensor t = file_.tensor(name);
  if (t.dtype() != dtype || t.rank() != 1 || (size >= 0 && t.dim(0) != size))
    damaged(cat("tensor '", name, "' is ", name_of(t.dtype()), " ", t.shape().str(), ", expected ", name_of(dtype),
                size >= 0 ? cat(" of [", size, "]") : std::string(" of one axis")));
  return t;
}

}  // namespace ov
