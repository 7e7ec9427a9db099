#include "data/raw/picture_file.h"

#include <sys/stat.h>

#include "data/reject.h"

namespace ov {

std::string picture_path(const Json& path, const std::string& directory, const std::string& where) {
  if (!path.is_string() || path.as_string().empty())
    malformed(where, "image: expected a path or a list of paths, found ", path.shown());
  if (path.as_string().find('\0') != std::string::npos)
    malformed(where, "image: expected a path, found one with a zero byte: ", path.shown());
  return path.as_string()[0] == '/' ? path.as_string() : directory + "/" + path.as_string();
}

std::shared_ptr<const MappedFile> open_picture(const std::string& path, const std::string& where) {
  struct stat info;
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
    reject(RejectReason::image_missing, where, ": ", path, ": is a pipe, a device or a socket, expected a file");
  return or_reject(RejectReason::image_missing, where, [&] { return MappedFile::open(path); });
}

}  // namespace ov
