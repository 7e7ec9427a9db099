// Files, written so that a kill or a power cut does no harm. Reading: base/io/mapped_file.h.
//
// A durable write goes to "<path>.partial" in the same directory, is fsynced, renamed over <path>, and the directory is
// fsynced: whoever opens <path> sees the old content or the new one, never a mixture. When any step fails the temporary
// is removed and the old file is untouched. One writer per path at a time; what a killed writer left is overwritten.
// Files that belong together: base/io/durable_directory.h.
//
// Errors: machine_error "path: cannot write: No space left on device" for what the machine refuses (ENOSPC, EFBIG,
// EACCES, EIO ...), input_error where the path itself is wrong (no such file, a directory where a file is meant).
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "base/io/mapped_file.h"

namespace ov {

// A durable write in pieces. Without commit() nothing changes. A path that names a device or a pipe (/dev/stdout) is
// written directly; a symbolic link is followed, so that the file it names is replaced and not the link.
class DurableWriter {
 public:
  explicit DurableWriter(const std::string& path);
  ~DurableWriter();
  DurableWriter(const DurableWriter&) = delete;

  void write(const void* data, std::size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  std::string path_, target_, partial_;    // as given, with links followed, and what is open
  bool direct_ = false, pending_ = false;  // pending: partial_ exists and must be removed unless renamed
  int fd_ = -1;
};

void write_durably(const std::string& path, std::string_view content);

// A log: content is only added, each append() in one piece. Opened at its first `keep` bytes, the rest is cut off;
// a missing file is created. An append that fails is taken back, so the file never ends in half of one.
class AppendFile {
 public:
  AppendFile(const std::string& path, std::size_t keep);
  ~AppendFile();
  AppendFile(AppendFile&& other) noexcept : path_(std::move(other.path_)), fd_(other.fd_), size_(other.size_) {
    other.fd_ = -1;
  }

  void append(std::string_view text);
  std::size_t size() const { return size_; }  // bytes

 private:
  std::string path_;
  int fd_ = -1;
  std::size_t size_ = 0;
};

// Every step that changes a disk (open, write, truncate, fsync, rename, fsync directory, mkdir, unlink, rmdir) calls
// file_step before and after. A test sets a hook that ends the process at the k-th call; null removes it.
using FileStepHook = void (*)(const char* what, const std::string& path, bool after);
void set_file_step_hook(FileStepHook hook);
void file_step(const char* what, const std::string& path, bool after);

// One step each, for base/io/durable_directory.cpp. `shown` is the path that an error names.
void rename_path(const std::string& from, const std::string& to, const std::string& shown);
void sync_path(const std::string& path, bool directory, const std::string& shown);
void make_directory(const std::string& path, const std::string& shown);
void make_directories(const std::string& path);         // those that are missing, parents first
void remove_tree(const std::string& path) noexcept;     // what cannot be removed stays
std::string parent_directory(const std::string& path);  // "." when there is no slash
std::string without_slash(std::string path);            // at its end; "/" stays
std::string follow_link(const std::string& path);       // the path itself unless it is a symbolic link to something

}  // namespace ov
