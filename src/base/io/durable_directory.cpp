#include "base/io/durable_directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/io/file.h"

namespace ov {
namespace {

namespace fs = std::filesystem;

bool is_directory(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

std::string without_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// Files first, then the directory that names them.
void sync_tree(const std::string& path, const std::string& shown) {
  for (const std::string& name : list_directory(path)) {
    const std::string inside = path + "/" + name;
    if (is_directory(inside)) sync_tree(inside, shown);
    else sync_path(inside, false, shown);
  }
  sync_path(path, true, shown);
}

void sync_file_system(const std::string& path, const std::string& shown) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) machine_error(shown, ": cannot open for syncfs: ", std::strerror(errno));
  file_step("syncfs", path, false);
  const int error = ::syncfs(fd) == 0 ? 0 : errno;
  ::close(fd);
  if (error) machine_error(shown, ": cannot syncfs: ", std::strerror(error));
  file_step("syncfs", path, true);
}

// The marker goes first: what is half removed must not look complete.
void discard(const std::string& path) {
  remove_tree(path + "/" + DurableDirectory::marker);
  remove_tree(path);
}

}  // namespace

DurableDirectory::DurableDirectory(const std::string& path)
    : path_(without_slash(path)), target_(follow_link(path_)), partial_(target_ + ".partial"), old_(target_ + ".old") {
  recover(target_);
  if (exists(target_)) {
    if (!is_directory(target_)) input_error(path_, ": is a file, expected a directory or nothing");
    if (!complete(target_) && !list_directory(target_).empty())
      input_error(path_, ": holds files but no ", marker,
                  ", so it is not replaced; name another directory or empty it");
  }
  discard(partial_);
  discard(old_);
  make_directory(partial_, path_);
  pending_ = true;
}

DurableDirectory::~DurableDirectory() {
  if (pending_) discard(partial_);
}

void DurableDirectory::commit(Flush flush) {
  if (flush == Flush::file_system) sync_file_system(partial_, path_);
  else sync_tree(partial_, path_);
  write_durably(file(marker), "");
  const bool replaces = complete(target_);
  if (replaces) rename_path(target_, old_, path_);
  pending_ = false;  // from here a failure must leave both for recover()
  rename_path(partial_, target_, path_);
  sync_path(parent_directory(target_), true, path_);
  if (replaces) discard(old_);
}

bool DurableDirectory::complete(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(path + "/" + marker, ignored);
}

void DurableDirectory::recover(const std::string& path) {
  const std::string target = follow_link(without_slash(path));
  if (exists(target)) return;
  for (const char* suffix : {".partial", ".old"}) {
    if (!complete(target + suffix)) continue;
    rename_path(target + suffix, target, path);
    sync_path(parent_directory(target), true, path);
    return;
  }
}

}  // namespace ov
