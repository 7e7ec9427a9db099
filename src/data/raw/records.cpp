#include "data/raw/records.h"

#include <sys/stat.h>

#include "base/sha256.h"
#include "data/raw/webdataset.h"

namespace ov {
namespace {

class ConversationRecords : public Records {
 public:
  ConversationRecords(const std::string& path, const std::string& image_dir) : file_(path, image_dir) {}
  const std::string& path() const override { return file_.path(); }
  std::int64_t size() const override { return file_.size(); }
  Conversation read(std::int64_t index) const override { return file_.read(index); }
  std::string fingerprint() const override { return sha256_file(file_.path()); }

 private:
  ConversationFile file_;
};

}  // namespace

std::unique_ptr<Records> open_records(const std::string& path, const std::string& image_dir) {
  struct stat info;
  const bool directory = ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
  if (directory || path.ends_with(".tar")) return std::make_unique<Webdataset>(path);
  return std::make_unique<ConversationRecords>(path, image_dir);
}

}  // namespace ov
