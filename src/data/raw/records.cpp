#include "data/raw/records.h"

#include <sys/stat.h>

#include <filesystem>

#include "base/text.h"
#include "data/raw/blended_records.h"
#include "data/raw/parquet_records.h"
#include "data/raw/webdataset.h"
#include "store/energon_blend.h"

namespace ov {
namespace {

class ConversationRecords : public Records {
 public:
  explicit ConversationRecords(ConversationFile file) : file_(std::move(file)) {}
  const std::string& path() const override { return file_.path(); }
  std::int64_t size() const override { return file_.size(); }
  Conversation read(std::int64_t index) const override { return file_.read(index); }
  std::string fingerprint() const override { return file_.fingerprint(); }
  void write_index() const override { file_.write_index(); }
  bool indexed() const override { return file_.indexed(); }

 private:
  ConversationFile file_;
};

}  // namespace

std::string set_name(const std::string& path) {
  namespace fs = std::filesystem;
  const std::string name = fs::path(without_slash(path)).filename();
  if (!name.empty() && name != "." && name != "..") return name;
  return fs::weakly_canonical(fs::absolute(path)).filename();
}

std::unique_ptr<Records> open_records(const std::string& path, const std::string& image_dir, const std::string& split,
                                      UseIndex use) {
  struct stat info;
  if (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
    if (!path_exists(path + "/.nv-meta") && holds_parquet(path))
      return std::make_unique<ParquetRecords>(path, image_dir, nullptr, use);
    return std::make_unique<Webdataset>(path, nullptr, split, use);
  }
  if (is_energon_blend(path)) return std::make_unique<BlendedRecords>(path, image_dir, use);
  auto file = MappedFile::open(path);  // once: a pipe can be read but once
  if (is_tar_name(path) || looks_like(file->text().substr(0, tar_block)) == "a tar archive")
    return std::make_unique<Webdataset>(path, std::move(file), "train", use);
  if (path.ends_with(".parquet") || file->text().starts_with("PAR1"))
    return std::make_unique<ParquetRecords>(path, image_dir, std::move(file), use);
  return std::make_unique<ConversationRecords>(ConversationFile(std::move(file), image_dir, use));
}

IndexedRecords index_records(const std::string& path) {
  std::unique_ptr<Records> records;
  try {
    records = open_records(path);
  } catch (const Error& e) {
    if (e.exit() != Exit::wrong_input) throw;
    records = open_records(path, "", "train", UseIndex::no);  // the index was stale, or it is the data that is refused
  }
  const bool stands = records->indexed();
  if (!stands) records->write_index();
  return {records->size(), !stands};
}

}  // namespace ov
