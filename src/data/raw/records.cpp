#include "data/raw/records.h"

#include <sys/stat.h>

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

 private:
  ConversationFile file_;
};

}  // namespace

std::unique_ptr<Records> open_records(const std::string& path, const std::string& image_dir, const std::string& split) {
  struct stat info;
  if (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
    if (!path_exists(path + "/.nv-meta") && holds_parquet(path))
      return std::make_unique<ParquetRecords>(path, image_dir);
    return std::make_unique<Webdataset>(path, nullptr, split);
  }
  if (is_energon_blend(path)) return std::make_unique<BlendedRecords>(path, image_dir);
  auto file = MappedFile::open(path);  // once: a pipe can be read but once
  if (is_tar_name(path) || looks_like(file->text().substr(0, tar_block)) == "a tar archive")
    return std::make_unique<Webdataset>(path, std::move(file));
  if (path.ends_with(".parquet") || file->text().starts_with("PAR1"))
    return std::make_unique<ParquetRecords>(path, image_dir, std::move(file));
  return std::make_unique<ConversationRecords>(ConversationFile(std::move(file), image_dir));
}

}  // namespace ov
